//! ONNX Runtime: the only file that names `ort`.
//!
//! In: the path of the library, a graph with its table, one row of features. Out: one row of
//! numbers. One session per thread with one intra-op thread, so a run is plain computation on the
//! caller's core: nothing spins, nothing is handed over. The embedding table is one tensor that all
//! sessions share. Never: downloads, or a library loaded twice.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor, TensorRef};

use crate::ClassifierError;
use crate::ngrams::{DENSE_COUNT, GROUPS};

/// File name of the library.
const LIBRARY: &str = "libonnxruntime.so";
/// Overrides where the library is looked for; the variable that other users of ONNX Runtime know.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Where `tools onnxruntime fetch` puts the library, from the root of the repository.
const FETCHED: &str = ".cache/onnxruntime/1.31.1/libonnxruntime.so";

/// What the graph must take. The table is an input, not a weight: ONNX Runtime copies weights into
/// every session, even those given to it as shared, and an input is only pointed at.
const INPUTS: [&str; 4] = ["ids", "weights", "dense", "table"];

/// The loaded library. One per process: a second `init` gives the same.
#[derive(Clone, Debug)]
pub struct OnnxRuntime {
    environment: Environment,
    path: PathBuf,
}

impl OnnxRuntime {
    /// Loads the library at `path`, or the first there is of: `ORT_DYLIB_PATH`, beside the
    /// executable, where `tools onnxruntime fetch` puts it below the working directory.
    pub fn init(path: Option<&Path>) -> Result<OnnxRuntime, ClassifierError> {
        static LOADED: Mutex<Option<OnnxRuntime>> = Mutex::new(None);
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*loaded {
            return match path {
                Some(path) if path != runtime.path => Err(ClassifierError::Runtime(format!(
                    "{} is loaded already, {} cannot be loaded beside it",
                    runtime.path.display(),
                    path.display()
                ))),
                _ => Ok(runtime.clone()),
            };
        }
        let path = match path {
            Some(path) => path.to_owned(),
            None => find()?,
        };
        let failed = |what: String| ClassifierError::Runtime(format!("{}: {what}", path.display()));
        let builder = ort::init_from(&path).map_err(|error| failed(error.to_string()))?;
        let environment = builder
            .with_name("pointsman")
            .with_telemetry(false)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let runtime = OnnxRuntime { environment, path };
        Ok(loaded.insert(runtime).clone())
    }

    /// The library's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn find() -> Result<PathBuf, ClassifierError> {
    let beside = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(LIBRARY)));
    let named = env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    // A library that was named is used or complained about, never passed over.
    let candidates = [beside, Some(PathBuf::from(FETCHED))];
    let found = candidates.into_iter().flatten().find(|path| path.is_file());
    named.or(found).ok_or_else(|| {
        ClassifierError::Runtime(format!(
            "{LIBRARY} is neither beside the executable nor at {FETCHED}, and {LIBRARY_VARIABLE} is not set"
        ))
    })
}

/// A graph and its embedding table, for any number of sessions.
#[derive(Debug)]
pub(crate) struct Graph {
    model: Vec<u8>,
    table: Arc<DynValue>,
}

impl Graph {
    /// Takes the graph's bytes and the table's (i8, row by row) of `shape` rows × width.
    pub(crate) fn new(
        _runtime: &OnnxRuntime, // proof that the library is there: a tensor needs it
        model: Vec<u8>,
        table: Vec<u8>,
        shape: [usize; 2],
    ) -> Result<Graph, ClassifierError> {
        if table.len() != shape[0] * shape[1] {
            return Err(ClassifierError::Model(format!(
                "the table has {} bytes; {} rows of {} need {}",
                table.len(),
                shape[0],
                shape[1],
                shape[0] * shape[1]
            )));
        }
        let table: Vec<i8> = table.into_iter().map(u8::cast_signed).collect();
        let table = Tensor::from_array((shape, table)).map_err(refused)?;
        Ok(Graph { model, table: Arc::new(table.into_dyn()) })
    }
}

/// A session of one thread.
#[derive(Debug)]
pub(crate) struct GraphSession {
    session: Session,
    table: Arc<DynValue>,
}

impl GraphSession {
    pub(crate) fn new(
        runtime: &OnnxRuntime,
        graph: &Graph,
    ) -> Result<GraphSession, ClassifierError> {
        let built = commit(runtime, graph).map_err(refused)?;
        let names = |outlets: &[ort::value::Outlet]| {
            outlets.iter().map(|outlet| outlet.name().to_owned()).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (names(built.inputs()), names(built.outputs()));
        if inputs != INPUTS || outputs.len() != 1 {
            return Err(ClassifierError::Model(format!(
                "the graph takes {inputs:?} and gives {outputs:?}; expected {INPUTS:?} and one output"
            )));
        }
        Ok(GraphSession { session: built, table: Arc::clone(&graph.table) })
    }

    /// Runs the graph on one text: `ids` `[n]`, `weights` `[3, n]`; exactly `N` numbers must come out.
    pub(crate) fn run<const N: usize>(
        &mut self,
        ids: &[i32],
        weights: &[f32],
        dense: &[f32; DENSE_COUNT],
    ) -> Result<[f32; N], ClassifierError> {
        let inputs = ort::inputs![
            TensorRef::from_array_view(([ids.len()], ids)).map_err(refused)?,
            TensorRef::from_array_view(([GROUPS, ids.len()], weights)).map_err(refused)?,
            TensorRef::from_array_view(([1, DENSE_COUNT], dense.as_slice())).map_err(refused)?,
            &*self.table,
        ];
        let outputs = self.session.run(inputs).map_err(refused)?;
        let (_, row) = outputs[0].try_extract_tensor::<f32>().map_err(refused)?;
        row.try_into().map_err(|_| {
            ClassifierError::Model(format!("the graph gave {} numbers, expected {N}", row.len()))
        })
    }
}

fn commit(runtime: &OnnxRuntime, graph: &Graph) -> ort::Result<Session> {
    // No arena and no memory pattern: every prompt has its own length, so a pattern never repeats,
    // and the few buffers are below what malloc keeps at hand anyway.
    let cpu = ort::ep::CPU::default().with_arena_allocator(false).build();
    Session::builder(&runtime.environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_execution_providers([cpu])?
        .commit_from_memory(&graph.model)
}

fn refused(error: ort::Error) -> ClassifierError {
    ClassifierError::Model(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_none_is_a_clear_error() {
        for path in ["/nonexistent/libonnxruntime.so", "/proc/self/exe"] {
            let error = OnnxRuntime::init(Some(Path::new(path))).expect_err(path).to_string();
            assert!(error.contains(path) && error.contains("onnxruntime fetch"), "{error}");
        }
    }
}
