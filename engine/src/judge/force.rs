//! What is in force: which models judge prompts, on cores or on threads, by which settings.
//!
//! In: `[classifier]` of the configuration, and what was in force before. Out: an immutable value that
//! was checked whole, with a session for each core; or why it is refused. A model whose folder and
//! place have not changed is taken over as it runs. Never: work on a core.

use super::counts::JudgeCounts;
use super::threads::{ThreadPlan, Threads};
use super::{CoreJudge, Role};
use crate::config::{ClassifierConfig, PlacementChoice};
use classifier::{
    Classified, Classifier, ClassifierError, CoreClassifier, Device, LoadOptions, OnnxRuntime,
    Placement, Speed, Stage, needs_second,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Threads of an observed model, and comparisons that may wait for them: it has all the time there is.
const OBSERVER: ThreadPlan = ThreadPlan { threads: 1, queue: 256, yields: true };

/// Why a model or a setting was not taken, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What judges prompts; for all cores the same, replaced whole.
#[derive(Debug)]
pub struct InForce {
    /// Counts up with each swap.
    pub generation: u64,
    /// What it was made of.
    pub config: ClassifierConfig,
    /// Who judges first.
    pub main: Main,
    /// Who is asked where that one is unsure.
    pub second: Option<Arc<Model>>,
    /// Who is only watched.
    pub observe: Option<Arc<Model>>,
}

/// Who judges first.
#[derive(Debug)]
pub enum Main {
    /// The rules, and why no model does.
    Rules(String),
    /// A model.
    Model(Arc<Model>),
}

/// A loaded model in its place.
#[derive(Debug)]
pub struct Model {
    /// Where it was loaded from.
    pub folder: PathBuf,
    /// BLAKE3 of its manifest, which holds those of its files: the identity of its content.
    pub digest: String,
    /// The model.
    pub classifier: Classifier,
    /// What a verdict takes.
    pub speed: Speed,
    /// Its threads, unless it runs inline on the cores.
    pub threads: Option<Threads>,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    asked: Asked,
}

/// What a model was loaded by: as long as it is the same, so is the model.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    role: Role,
    folder: PathBuf,
    digest: String,
    config: LoadConfig,
}

/// The settings on which a loaded model depends.
#[derive(Clone, Debug, PartialEq)]
struct LoadConfig {
    device: Device,
    placement: PlacementChoice,
    plan: ThreadPlan,
}

impl InForce {
    /// What the configuration says, as far as it can be had: a gateway without a model judges by
    /// rules. An error only where the configuration insists on a GPU.
    pub fn at_start(
        config: &ClassifierConfig,
        counts: &Arc<JudgeCounts>,
    ) -> Result<InForce, Refused> {
        let strict = config.device.0 == Device::Cuda && !config.rules_only;
        let without = |what: &str, refused: Refused| match strict {
            true => Err(refused),
            false => {
                tracing::warn!(error = %refused, "{what}");
                Ok(())
            }
        };
        let main = match load_main(config, None, counts) {
            Ok(main) => main,
            Err(refused) => {
                without("prompts are judged by rules alone", refused.clone())?;
                Main::Rules(refused.0)
            }
        };
        let mut in_force =
            InForce { generation: 1, config: config.clone(), main, second: None, observe: None };
        match load_second(config, &in_force.main, None, counts) {
            Ok(second) => in_force.second = second,
            Err(refused) => without("no second model is asked", refused)?,
        }
        match load_observed(config, None, counts) {
            Ok(observe) => in_force.observe = observe,
            Err(refused) => without("no model is observed", refused)?,
        }
        Ok(in_force)
    }

    /// What comes after this by a new configuration: all of it, or the reason why not.
    pub fn next(
        &self,
        config: &ClassifierConfig,
        counts: &Arc<JudgeCounts>,
    ) -> Result<InForce, Refused> {
        let main = load_main(config, Some(self), counts)?;
        Ok(InForce {
            generation: self.generation + 1,
            config: config.clone(),
            second: load_second(config, &main, Some(self), counts)?,
            observe: load_observed(config, Some(self), counts)?,
            main,
        })
    }

    /// Whether `config` would give the same again: same settings, same contents of the folders.
    pub fn is_same(&self, config: &ClassifierConfig) -> bool {
        if self.config != *config {
            return false;
        }
        let main = match &self.main {
            Main::Model(model) => Some(model),
            // What failed before is tried again.
            Main::Rules(_) if !config.rules_only => return false,
            Main::Rules(_) => None,
        };
        let mut models = [main, self.second.as_ref(), self.observe.as_ref()].into_iter().flatten();
        let complete = self.second.is_some() == config.second.is_some()
            && self.observe.is_some() == config.observe.is_some();
        complete && models.all(|model| digest_of(&model.folder).as_ref() == Ok(&model.digest))
    }

    /// What one core needs for it.
    pub fn for_core(self: &Arc<Self>) -> Result<Box<CoreJudge>, Refused> {
        let classifier = match &self.main {
            Main::Model(model) if model.threads.is_none() => model
                .classifier
                .session()
                .map_err(|error| refused(Role::Main, &model.folder, &error))?,
            Main::Model(_) | Main::Rules(_) => CoreClassifier::rules_only(),
        };
        Ok(Box::new(CoreJudge::new(Arc::clone(self), classifier)))
    }

    /// The model that judges first.
    pub fn main_model(&self) -> Option<&Arc<Model>> {
        match &self.main {
            Main::Model(model) => Some(model),
            Main::Rules(_) => None,
        }
    }

    /// Whom to ask about a verdict of a core's own, if anybody, and in which role.
    pub fn adviser(&self, inline: &Classified) -> Option<(Role, &Threads)> {
        if let Some(threads) = self.main_model().and_then(|main| main.threads.as_ref()) {
            // The rules spoke in the model's stead.
            return (inline.stage == Stage::Rules).then_some((Role::Main, threads));
        }
        let threads = self.second.as_ref()?.threads.as_ref()?;
        let is_unsure = needs_second(inline, self.config.second_margin);
        is_unsure.then_some((Role::Second, threads))
    }

    /// How long a request waits for an adviser.
    pub fn deadline(&self) -> Duration {
        Duration::from_micros(self.config.second_deadline_us.into())
    }

    /// All loaded models with their roles.
    pub fn models(&self) -> impl Iterator<Item = (Role, &Arc<Model>)> {
        let models = [
            (Role::Main, self.main_model()),
            (Role::Second, self.second.as_ref()),
            (Role::Observe, self.observe.as_ref()),
        ];
        models.into_iter().filter_map(|(role, model)| Some((role, model?)))
    }
}

impl Model {
    /// Where it computes: `inline` or `threads`.
    pub fn placement(&self) -> &'static str {
        if self.threads.is_some() { "threads" } else { "inline" }
    }
}

fn load_main(
    config: &ClassifierConfig,
    previous: Option<&InForce>,
    counts: &Arc<JudgeCounts>,
) -> Result<Main, Refused> {
    if config.rules_only {
        return Ok(Main::Rules("classifier.rules_only is set".into()));
    }
    let folder = model_folder(config).map_err(Refused)?;
    let previous = previous.and_then(InForce::main_model);
    let model = load(Role::Main, &folder, config, previous, counts)?;
    Ok(Main::Model(model))
}

fn load_second(
    config: &ClassifierConfig,
    main: &Main,
    previous: Option<&InForce>,
    counts: &Arc<JudgeCounts>,
) -> Result<Option<Arc<Model>>, Refused> {
    let Some(folder) = &config.second else { return Ok(None) };
    if let Main::Model(main) = main
        && main.threads.is_some()
    {
        return Err(Refused(format!(
            "classifier.second: {} runs on threads itself, and only a model that runs inline can be \
             followed by a second",
            main.folder.display()
        )));
    }
    let previous = previous.and_then(|previous| previous.second.as_ref());
    load(Role::Second, folder, config, previous, counts).map(Some)
}

fn load_observed(
    config: &ClassifierConfig,
    previous: Option<&InForce>,
    counts: &Arc<JudgeCounts>,
) -> Result<Option<Arc<Model>>, Refused> {
    let Some(folder) = &config.observe else { return Ok(None) };
    let previous = previous.and_then(|previous| previous.observe.as_ref());
    load(Role::Observe, folder, config, previous, counts).map(Some)
}

/// Loads a model into its place, or takes over `previous` when it would be the same.
fn load(
    role: Role,
    folder: &Path,
    config: &ClassifierConfig,
    previous: Option<&Arc<Model>>,
    counts: &Arc<JudgeCounts>,
) -> Result<Arc<Model>, Refused> {
    let plan = match role {
        Role::Observe => OBSERVER,
        Role::Main | Role::Second => {
            ThreadPlan { threads: config.second_threads, queue: config.second_queue, yields: false }
        }
    };
    let refused = |error: ClassifierError| refused(role, folder, &error);
    let asked = Asked {
        role,
        folder: folder.to_owned(),
        digest: digest_of(folder).map_err(Refused)?,
        config: LoadConfig { device: config.device.0, placement: config.placement, plan },
    };
    if let Some(previous) = previous.filter(|previous| previous.asked == asked) {
        return Ok(Arc::clone(previous));
    }
    let runtime = OnnxRuntime::init(config.onnxruntime.as_deref()).map_err(refused)?;
    // The place is chosen below, by what is measured.
    let options = LoadOptions { device: config.device.0, placement: None };
    let classifier = Classifier::load_with(folder, &runtime, options).map_err(refused)?;
    let mut speed = classifier.measure().map_err(refused)?;
    let may_be_inline = role == Role::Main && config.placement != PlacementChoice::Threads;
    if may_be_inline && speed.placement() == Placement::Threads {
        // What else ran on the machine may have been in the way.
        let again = classifier.measure().map_err(refused)?;
        if again.p99_us < speed.p99_us {
            speed = again;
        }
    }
    let placement = match (may_be_inline, config.placement) {
        (false, _) => Placement::Threads,
        (true, PlacementChoice::Inline) => Placement::Inline,
        (true, _) => speed.placement(),
    };
    speed.must_fit(placement).map_err(refused)?;
    let threads = match placement {
        Placement::Inline => None,
        Placement::Threads => Some(Threads::start(&classifier, plan, counts).map_err(refused)?),
    };
    let manifest = classifier.manifest();
    let model = Model {
        folder: folder.to_owned(),
        digest: asked.digest.clone(),
        speed,
        threads,
        loaded_at: SystemTime::now(),
        asked,
        classifier: classifier.clone(),
    };
    tracing::info!(
        role = role.name(),
        folder = %folder.display(),
        name = manifest.name,
        version = manifest.version,
        placement = model.placement(),
        device = classifier.runs_on().name(),
        p50_us = model.speed.p50_us,
        p99_us = model.speed.p99_us,
        "classifier loaded"
    );
    if let Some(why) = &classifier.runs_on().fallback {
        tracing::warn!(folder = %folder.display(), why, "no GPU is used");
    }
    let deadline_us = config.second_deadline_us;
    let is_awaited = role != Role::Observe && model.threads.is_some();
    if is_awaited && model.speed.p50_us > deadline_us as f32 {
        tracing::warn!(
            folder = %folder.display(),
            p50_us = model.speed.p50_us,
            deadline_us,
            "this model rarely answers within classifier.second_deadline_us; set it higher"
        );
    }
    Ok(Arc::new(model))
}

fn refused(role: Role, folder: &Path, error: &ClassifierError) -> Refused {
    let shown = error.to_string();
    let folder = folder.display().to_string();
    // Most errors name a file of the folder.
    let place = if shown.contains(&folder) { String::new() } else { format!("{folder}: ") };
    Refused(format!("{}: {place}{shown}", role.setting()))
}

/// The identity of a folder's content.
fn digest_of(folder: &Path) -> Result<String, String> {
    let path = folder.join("manifest.toml");
    match std::fs::read(&path) {
        Ok(bytes) => Ok(blake3::hash(&bytes).to_hex().to_string()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The model folder: the configured one, else `models/task-v1` below the working directory, else the
/// same beside the executable or above it, which is where it stands in a checkout.
pub fn model_folder(config: &ClassifierConfig) -> Result<PathBuf, String> {
    const SHIPPED: &str = "models/task-v1";
    if let Some(folder) = &config.model {
        return Ok(folder.clone());
    }
    let executable = std::env::current_exe().unwrap_or_default();
    std::iter::once(Path::new(""))
        .chain(executable.ancestors().skip(1).take(4))
        .map(|base| base.join(SHIPPED))
        .find(|folder| folder.join("manifest.toml").is_file())
        .ok_or_else(|| {
            format!("no folder {SHIPPED} here or beside the program; name one as classifier.model")
        })
}
