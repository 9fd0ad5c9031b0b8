//! ONNX Runtime: the only file that names `ort`.
//!
//! In: the path of the library, a graph, one row of features. Out: one row of numbers. One session
//! per thread with one intra-op thread, so a run is plain computation on the caller's core: nothing
//! spins, nothing is handed over. Never: downloads, or a library loaded twice.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::ep::{CPU, CUDA, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, Tensor, TensorElementType, TensorRef, ValueType};

use crate::ClassifierError;

/// File name of the library.
const LIBRARY: &str = "libonnxruntime.so";
/// Overrides where the library is looked for; the variable that other users of ONNX Runtime know.
const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";
/// Where `tools onnxruntime fetch` puts the library, from the root of the repository.
const FETCHED: &str = ".cache/onnxruntime/1.31.1/libonnxruntime.so";

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

/// What a graph takes or gives under a name.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) element: Element,
    /// Length of each dimension; -1 where it may be any.
    pub(crate) shape: Vec<i64>,
}

/// The numbers of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    I64,
    I32,
    /// One that this program does not feed or read.
    Other,
}

impl Port {
    fn new(outlet: &Outlet) -> Port {
        let (element, shape) = match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => (Element::new(*ty), shape.to_vec()),
            _ => (Element::Other, Vec::new()),
        };
        Port { name: outlet.name().to_owned(), element, shape }
    }

    /// The length of a dimension; `None` where it may be any.
    pub(crate) fn fixed(&self, dimension: usize) -> Option<usize> {
        self.shape.get(dimension).and_then(|&length| usize::try_from(length).ok())
    }
}

impl Element {
    fn new(element: TensorElementType) -> Element {
        match element {
            TensorElementType::Float32 => Element::F32,
            TensorElementType::Int64 => Element::I64,
            TensorElementType::Int32 => Element::I32,
            _ => Element::Other,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.name, self.element, self.shape)
    }
}

/// A session of one thread.
#[derive(Debug)]
pub(crate) struct GraphSession {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl GraphSession {
    /// Builds a session of the graph in `model`, on the GPU or not at all when `gpu` is set.
    pub(crate) fn new(
        runtime: &OnnxRuntime,
        model: &[u8],
        gpu: bool,
    ) -> Result<GraphSession, ClassifierError> {
        let session = if gpu {
            let cuda = cuda(runtime)?;
            // A graph that the processor takes is good: then it is the GPU that cannot be used.
            commit(runtime, model, Some(cuda)).map_err(|error| {
                let good = commit(runtime, model, None);
                good.map_or_else(refused, |_| ClassifierError::Device(reason(&error)))
            })?
        } else {
            commit(runtime, model, None).map_err(refused)?
        };
        let inputs = session.inputs().iter().map(Port::new).collect();
        let outputs = session.outputs().iter().map(Port::new).collect();
        Ok(GraphSession { session, inputs, outputs })
    }

    /// What the graph takes, in its order.
    pub(crate) fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What the graph gives, in its order.
    pub(crate) fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// What the graph takes and gives, for people.
    pub(crate) fn ports(&self) -> String {
        let named =
            |ports: &[Port]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("{} and gives {}", named(&self.inputs), named(&self.outputs))
    }

    /// Runs a graph of one input on one row of numbers, and writes its first output into `into`.
    pub(crate) fn run_row(
        &mut self,
        row: &[f32],
        into: &mut Vec<f32>,
    ) -> Result<(), ClassifierError> {
        let row = TensorRef::from_array_view(([1, row.len()], row)).map_err(refused)?;
        let outputs = self.session.run(ort::inputs![row]).map_err(refused)?;
        let (_, numbers) = outputs[0].try_extract_tensor::<f32>().map_err(refused)?;
        into.clear();
        into.extend_from_slice(numbers);
        Ok(())
    }
}

impl GraphSession {
    /// Runs the graph on tensors of `shape` in the order of its inputs, and appends a row per text to
    /// `into`: of each part the numbers of one output, whose index and width are given.
    pub(crate) fn run_ids(
        &mut self,
        shape: [usize; 2],
        feeds: &[&[i64]],
        parts: &[(usize, usize)],
        into: &mut Vec<f32>,
    ) -> Result<(), ClassifierError> {
        let mut inputs = Vec::with_capacity(feeds.len());
        for (port, &feed) in self.inputs.iter().zip(feeds) {
            let input: SessionInputValue<'_> = match port.element {
                Element::I32 => {
                    let narrow: Vec<i32> = feed.iter().map(|&id| id as i32).collect();
                    Tensor::from_array((shape, narrow)).map_err(refused)?.into()
                }
                _ => TensorRef::from_array_view((shape, feed)).map_err(refused)?.into(),
            };
            inputs.push(input);
        }
        let outputs = self.session.run(&inputs[..]).map_err(refused)?;
        let rows = shape[0];
        let mut tensors = Vec::with_capacity(parts.len());
        for &(at, width) in parts {
            let (_, numbers) = outputs[at].try_extract_tensor::<f32>().map_err(refused)?;
            if numbers.len() != rows * width {
                return Err(ClassifierError::Model(format!(
                    "output {} has {} numbers for {rows} texts, expected {width} each",
                    self.outputs[at].name,
                    numbers.len()
                )));
            }
            tensors.push((numbers, width));
        }
        for row in 0..rows {
            for (numbers, width) in &tensors {
                into.extend_from_slice(&numbers[row * width..(row + 1) * width]);
            }
        }
        Ok(())
    }
}

/// CUDA, registered strictly; or why it cannot be used, before a session is built in vain.
fn cuda(runtime: &OnnxRuntime) -> Result<ExecutionProviderDispatch, ClassifierError> {
    let library = runtime.path.display();
    match CUDA::is_available() {
        Ok(true) => Ok(CUDA::default().with_device_id(0).build().error_on_failure()),
        Ok(false) => Err(ClassifierError::Device(format!(
            "{library} is built without CUDA; name the library of the package onnxruntime-gpu"
        ))),
        Err(error) => Err(ClassifierError::Device(format!("{library}: {}", reason(&error)))),
    }
}

fn commit(
    runtime: &OnnxRuntime,
    model: &[u8],
    cuda: Option<ExecutionProviderDispatch>,
) -> ort::Result<Session> {
    // No arena and no memory pattern: the few buffers are below what malloc keeps at hand anyway.
    let cpu = CPU::default().with_arena_allocator(false).build();
    let providers: Vec<_> = cuda.into_iter().chain([cpu]).collect();
    Session::builder(&runtime.environment)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_memory_pattern(false)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_execution_providers(providers)?
        .commit_from_memory(model)
}

/// What a person can act on: ONNX Runtime puts file, line and function of its own before it.
fn reason(error: &ort::Error) -> String {
    let text = error.to_string();
    let said = text.rsplit_once(" : FAIL : ").map_or(&*text, |(_, said)| said);
    said.trim().to_owned()
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
