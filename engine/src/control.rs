//! Start, run, stop: the control thread and the threads that it starts.
//!
//! The control thread has a tokio runtime of its own. It builds snapshots and publishes them, folds
//! the journal into the store, merges the cores' counts, resolves names, answers the admin port, and
//! hears signals. The cores never wait for it.

use crate::config::{Admin, ClassifierConfig, Config, Timeouts};
use crate::core::{Core, HealthCells, Phase, Shared, unix_now};
use crate::judge::CoreJudge;
use crate::judge::counts::JudgeCounts;
use crate::judge::force::InForce;
use crate::judge::swap::Swapper;
use crate::judge::threads::Threads;
use crate::metrics::Metrics;
use crate::rt::{self, Driver, DriverChoice, Listener};
use crate::snapshot::{Builder, Keys, ProviderState, Published, Snapshot};
use crate::stats::CoreStats;
use crate::watch;
use crate::{admin, demo, serve};
use arc_swap::ArcSwap;
use crossbeam::queue::ArrayQueue;
use govern::{KeyHasher, KeyTable};
use models::catalogue::{Catalogue, CatalogueSource};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use store::{Journal, JournalLimits, JournalWriter, NewKey, Store};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How often the journal is brought to the disk.
const TEND_EVERY: Duration = Duration::from_millis(10);
/// How often the store is asked whether keys have changed: a revocation counts within a second.
const KEYS_EVERY: Duration = Duration::from_millis(250);
/// How often the journal is folded and counts are merged.
const FOLD_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a token has to be renewed.
const TOKENS_EVERY: Duration = Duration::from_millis(500);
/// How often names of providers are resolved anew.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// When a name that did not resolve is looked up again.
const RESOLVE_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// For how long connections are still taken after SIGTERM, until balancers have noticed.
const LEAVE_FOR: Duration = Duration::from_millis(2_000);
/// Sets of counts that may be on their way from one core.
const STATS_IN_FLIGHT: usize = 4;

/// Classifiers of one core that wait to be freed.
const JUDGES_RETIRED: usize = 4;

/// What can be told on the command line beside the configuration file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Start scripted local providers.
    pub demo: bool,
    /// Gives memory that is not in use back to the system: after the start, and after each swap of the
    /// classifier.
    pub give_back_memory: fn(),
}

/// Why the process cannot start, in words for a person.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    fn of(what: &str, error: impl std::fmt::Display) -> StartError {
        StartError(format!("{what}: {error}"))
    }
}

/// What was found and decided at the start, to be told to a person.
pub struct Started {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where metrics are.
    pub admin: SocketAddr,
    /// Models that can be called.
    pub models: usize,
    /// Providers in service.
    pub providers: Vec<String>,
    /// The first key, when one was made.
    pub first_key: Option<String>,
    /// Milliseconds from the start of the process to here.
    pub took: Duration,
}

/// Runs until a signal ends it. `tell` hears once that everything is ready; `reload` reads the
/// configuration anew, at each SIGHUP.
pub fn run(
    config: Config,
    options: &Options,
    begun: Instant,
    tell: impl FnOnce(&Started),
    reload: impl Fn() -> Result<Config, String>,
) -> Result<(), StartError> {
    let data_dir = &config.server.data_dir;
    std::fs::create_dir_all(data_dir)
        .map_err(|error| StartError::of(&data_dir.display().to_string(), error))?;
    let journal = Journal::open(data_dir, JournalLimits::default())
        .map_err(|error| StartError::of("the journal cannot be opened", error))?;
    let mut store = Store::open(data_dir)
        .map_err(|error| StartError::of("the store cannot be opened", error))?;
    let first_key = first_key(&mut store, options.demo)?;
    let secret =
        store.server_secret().map_err(|error| StartError::of("the server's secret", error))?;
    let hasher = KeyHasher::new(secret);
    let keys = keys(&store, &hasher)?;

    let (demo_handles, additions) = if options.demo {
        let (handles, additions) =
            demo::start().map_err(|error| StartError::of("the demo providers", error))?;
        (handles, Some(additions))
    } else {
        (Vec::new(), None)
    };
    let mut builder =
        Builder::new(&config).map_err(|error| StartError::of("upstream.roots", error))?;
    let (snapshot, states) = snapshot(&mut builder, &config, additions.clone())?;
    log_providers(&config, &states);
    let admin_token = admin_token(&config)?;
    let judge_counts = Arc::<JudgeCounts>::default();
    let in_force = InForce::at_start(&config.classifier, &judge_counts)
        .map_err(|refused| StartError(refused.0))?;

    let cores = cores_to_use(&config);
    let shared = Arc::new(shared(snapshot, keys, cores.len(), in_force, judge_counts));
    let writers = (0..cores.len())
        .map(|index| journal.writer(index as u16))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| StartError::of("the journal cannot be written", error))?;

    let (listen, threads) = start_cores(&config, &shared, &cores, writers)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_name("pointsman-blocking")
        .build()
        .map_err(|error| StartError::of("the control thread", error))?;
    let metrics = Arc::new(Metrics::new(Arc::clone(&shared)));
    let swapper = Arc::new(Swapper::new(Arc::clone(&shared), options.give_back_memory));
    let admin_state = admin::State {
        metrics: Arc::clone(&metrics),
        shared: Arc::clone(&shared),
        swapper: Arc::clone(&swapper),
    };
    let guard = admin::Guard::new(admin_token.as_deref());
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(config.server.admin)
            .await
            .map_err(|error| StartError::of(&format!("admin {}", config.server.admin), error))?;
        let admin = listener.local_addr().map_err(|error| StartError::of("admin", error))?;
        tokio::spawn(admin::serve(listener, admin_state, guard));
        let reloaded = Arc::new(Notify::new());
        tokio::spawn(resolve_names(Arc::clone(&shared), Arc::clone(&reloaded)));
        tokio::spawn(renew_tokens(Arc::clone(&shared)));
        tokio::spawn(tend(journal.clone()));
        // Before anybody is told that we run: a signal that nobody hears ends the process.
        let signals =
            Signals::new().map_err(|error| StartError::of("signals cannot be heard", error))?;
        shared.phase.set_serving();
        let current = shared.published.snapshot.load();
        tell(&Started {
            listen,
            admin,
            models: current.callable_models(),
            providers: states
                .iter()
                .filter(|(_, state)| *state == ProviderState::Enabled)
                .map(|(id, _)| id.clone())
                .collect(),
            first_key,
            took: begun.elapsed(),
        });
        drop(current);
        let mut control = Control {
            shared: &shared,
            journal: &journal,
            store: &mut store,
            hasher: &hasher,
            metrics: &metrics,
            drain: Timeouts::of(config.timeouts.drain_ms),
            builder,
            additions,
            reloaded,
            swapper,
            threads: &threads,
        };
        control.run(signals, reload).await
    });

    if served.is_err() {
        // Cores of a start that failed would go on listening.
        shared.phase.set_closing();
    }
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a core ended in panic");
        }
    }
    for (_, model) in shared.in_force.load().models() {
        model.threads.iter().for_each(Threads::come_to_rest);
    }
    // What the cores wrote last.
    metrics.collect();
    if let Err(error) = store.fold(&journal) {
        tracing::error!(%error, "the last fold failed; the journal is folded at the next start");
    }
    drop(demo_handles);
    tracing::info!("stopped");
    served
}

/// What the control thread works on.
struct Control<'c> {
    shared: &'c Arc<Shared>,
    journal: &'c Journal,
    store: &'c mut Store,
    hasher: &'c KeyHasher,
    metrics: &'c Metrics,
    drain: Duration,
    builder: Builder,
    additions: Option<CatalogueSource>,
    /// Told after each reload: it may have brought names that nobody has looked up.
    reloaded: Arc<Notify>,
    swapper: Arc<Swapper>,
    threads: &'c [JoinHandle<()>],
}

impl Control<'_> {
    /// The loop of the control thread, until all cores have ended. An error when one of them ended
    /// unasked: half a process would pass its health check and serve nobody.
    async fn run(
        &mut self,
        mut signals: Signals,
        reload: impl Fn() -> Result<Config, String>,
    ) -> Result<(), StartError> {
        let mut fold_timer = tokio::time::interval(FOLD_EVERY);
        let mut keys_timer = tokio::time::interval(KEYS_EVERY);
        fold_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        keys_timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut keys_version = self.store.keys_version().ok();
        let mut result = Ok(());
        let mut leaving: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = fold_timer.tick() => {
                    self.metrics.collect();
                    self.swapper.free_retired();
                    fold(self.store, self.journal, self.metrics);
                }
                _ = keys_timer.tick() => {
                    self.refresh_keys(&mut keys_version);
                    let ended = self.threads.iter().filter(|thread| thread.is_finished()).count();
                    if let Some(since) = leaving {
                        drain_further(self.shared, since.elapsed(), self.drain);
                        if ended == self.threads.len() {
                            return result;
                        }
                    } else if ended > 0 {
                        tracing::error!("a core has ended; the others finish what runs, then all stop");
                        result = Err(StartError("a core ended unasked; see the log".to_owned()));
                        self.shared.phase.set_leaving();
                        leaving = Some(Instant::now());
                    }
                }
                heard = signals.next() => match heard {
                    Heard::Reload => self.reload(&reload),
                    Heard::Stop if leaving.is_none() => {
                        tracing::info!("stopping: running requests end, no new ones are taken");
                        self.shared.phase.set_leaving();
                        leaving = Some(Instant::now());
                        keys_timer.reset_immediately();
                    }
                    Heard::Stop => {}
                },
            }
        }
    }

    fn refresh_keys(&mut self, known: &mut Option<u64>) {
        match self.store.keys_version() {
            Ok(version) if Some(version) != *known => match keys(self.store, self.hasher) {
                Ok(keys) => {
                    self.shared.published.keys.store(Arc::new(keys));
                    *known = Some(version);
                }
                Err(error) => tracing::error!(%error, "keys stay as they were"),
            },
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "keys cannot be read; they stay as they were"),
        }
    }

    /// Replaces the snapshot by one of the configuration as it is now. A bad one changes nothing.
    fn reload(&mut self, read: &impl Fn() -> Result<Config, String>) {
        let built = read().and_then(|config| {
            snapshot(&mut self.builder, &config, self.additions.clone())
                .map(|built| (config, built))
                .map_err(|error| error.to_string())
        });
        match built {
            Ok((config, (snapshot, states))) => {
                log_providers(&config, &states);
                let cells = HealthCells::new(snapshot.generation, snapshot.targets.len());
                tracing::info!(models = snapshot.callable_models(), "configuration reloaded");
                self.shared.health.store(Arc::new(cells));
                self.shared.published.snapshot.store(Arc::new(snapshot));
                self.reloaded.notify_one();
                tokio::spawn(follow(Arc::clone(&self.swapper), config.classifier));
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration is refused; the old one stays")
            }
        }
    }
}

/// Brings the classifier to what the configuration says now; loading it takes its time beside all else.
async fn follow(swapper: Arc<Swapper>, config: ClassifierConfig) {
    // A refusal has been logged, with what stays.
    if let Ok(None) = swapper.follow(config).await {
        tracing::info!("the classifier is unchanged");
    }
}

/// The token of the admin port, when one is set.
fn admin_token(config: &Config) -> Result<Option<String>, StartError> {
    let token = config.admin.token();
    match token.as_deref().and_then(Admin::problem_of) {
        Some(what) => Err(StartError(format!("{}: {what}", Admin::TOKEN_VARIABLE))),
        None => Ok(token),
    }
}

fn drain_further(shared: &Shared, since: Duration, drain: Duration) {
    // Nobody is connected who would have to notice.
    let is_alone = connections(shared) == 0;
    if since >= LEAVE_FOR || is_alone {
        shared.phase.set_draining();
    }
    if since >= LEAVE_FOR + drain {
        shared.phase.set_closing();
    }
}

fn connections(shared: &Shared) -> u32 {
    shared.connections.iter().map(|count| count.load(Ordering::Acquire)).sum()
}

/// The signals that are heard.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.interrupt.recv() => Heard::Stop,
            _ = self.reload.recv() => Heard::Reload,
        }
    }
}

enum Heard {
    Stop,
    Reload,
}

fn fold(store: &mut Store, journal: &Journal, metrics: &Metrics) {
    match store.fold(journal) {
        Ok(report) => {
            for (path, why) in &report.unreadable {
                tracing::error!(path = %path.display(), %why, "a journal segment cannot be read");
            }
            if report.lost > 0 {
                tracing::error!(records = report.lost, "journal records are damaged");
            }
            metrics.folded(&report, journal.appended());
        }
        Err(error) => {
            metrics.fold_failed();
            tracing::error!(%error, "the journal could not be folded; it is kept and tried again");
        }
    }
}

/// Brings what was written to the disk, on a thread that may wait for it.
async fn tend(journal: Journal) {
    let mut timer = tokio::time::interval(TEND_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut appended = u64::MAX;
    loop {
        timer.tick().await;
        // With nothing new there is nothing to bring.
        if std::mem::replace(&mut appended, journal.appended()) == journal.appended() {
            continue;
        }
        let journal = journal.clone();
        match tokio::task::spawn_blocking(move || journal.tend()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the journal could not be synced"),
            Err(_) => return,
        }
    }
}

/// Fetches the tokens that are due, each on a thread that may wait for it.
async fn renew_tokens(shared: Arc<Shared>) {
    let mut timer = tokio::time::interval(TOKENS_EVERY);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let snapshot = shared.published.snapshot.load_full();
        for token in &snapshot.tokens {
            let (now, _) = unix_now();
            if !token.is_due(now) {
                continue;
            }
            let (token, tls) = (Arc::clone(token), Arc::clone(&snapshot.tls));
            tokio::task::spawn_blocking(move || match token.renew(&tls, now) {
                Ok(()) => tracing::info!(from = token.account().token_uri(), "token renewed"),
                Err(error) => {
                    let from = token.account().token_uri();
                    tracing::error!(from, %error, "no token could be fetched; it is tried again");
                }
            });
        }
    }
}

/// Looks up the names of all origins, now and again. A name that does not resolve keeps its last
/// addresses.
async fn resolve_names(shared: Arc<Shared>, reloaded: Arc<Notify>) {
    let mut timer = tokio::time::interval(RESOLVE_EVERY);
    loop {
        tokio::select! {
            _ = timer.tick() => {}
            () = reloaded.notified() => {}
        }
        let snapshot = shared.published.snapshot.load_full();
        for origin in &snapshot.origins {
            let (origin, again) = (Arc::clone(origin), Arc::clone(&reloaded));
            tokio::spawn(async move {
                match tokio::net::lookup_host((origin.host.as_str(), origin.port)).await {
                    Ok(found) => {
                        let found: Vec<SocketAddr> = found.collect();
                        if !found.is_empty() {
                            origin.addresses.store(Arc::new(found));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(host = origin.host, %error, "the name does not resolve");
                        // Several at once make one new round.
                        tokio::time::sleep(RESOLVE_AGAIN_AFTER).await;
                        again.notify_one();
                    }
                }
            });
        }
    }
}

fn shared(
    snapshot: Snapshot,
    keys: Keys,
    cores: usize,
    in_force: InForce,
    judge_counts: Arc<JudgeCounts>,
) -> Shared {
    let queues =
        || (0..cores).map(|_| ArrayQueue::<Box<CoreStats>>::new(STATS_IN_FLIGHT)).collect();
    let cells = HealthCells::new(snapshot.generation, snapshot.targets.len());
    Shared {
        published: Published {
            snapshot: ArcSwap::from_pointee(snapshot),
            keys: ArcSwap::from_pointee(keys),
        },
        epoch: Instant::now(),
        phase: Phase::default(),
        stats_full: queues(),
        stats_empty: queues(),
        connections: (0..cores).map(|_| Default::default()).collect(),
        in_force: ArcSwap::from_pointee(in_force),
        judges_next: (0..cores).map(|_| ArrayQueue::new(1)).collect(),
        judges_retired: (0..cores).map(|_| ArrayQueue::new(JUDGES_RETIRED)).collect(),
        judge_generations: (0..cores).map(|_| Default::default()).collect(),
        judge_counts,
        health: ArcSwap::from_pointee(cells),
        breakers: ArcSwap::from_pointee(Vec::new()),
    }
}

fn snapshot(
    builder: &mut Builder,
    config: &Config,
    additions: Option<CatalogueSource>,
) -> Result<(Snapshot, Vec<(String, ProviderState)>), StartError> {
    let catalogue: Catalogue = match additions {
        None => config.catalogue(),
        Some(additions) => CatalogueSource::builtin()
            .map_err(|error| vec![error])
            .and_then(|source| source.overlay(config.additions()).overlay(additions).compile()),
    }
    .map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        StartError(lines.join("\n"))
    })?;
    builder.build(config, catalogue, |name| std::env::var(name).ok()).map_err(StartError)
}

/// Says which providers are in service. One that the configuration names and that cannot be is
/// worth a warning; the other providers of the catalogue without a key stand in one line.
fn log_providers(config: &Config, states: &[(String, ProviderState)]) {
    let mut without_key = Vec::new();
    for (provider, state) in states {
        let is_configured = config.providers.iter().any(|known| known.id == *provider);
        match state {
            ProviderState::Enabled => tracing::info!(provider, "provider enabled"),
            ProviderState::NoKey { env } if is_configured => {
                tracing::warn!(provider, env, "provider disabled: set its key in that variable");
            }
            ProviderState::NoKey { env } => without_key.push(format!("{provider} ({env})")),
            ProviderState::BadKey { env } => {
                tracing::warn!(
                    provider,
                    env,
                    "provider disabled: its key has characters that no key has; set it again"
                );
            }
            ProviderState::BadFile { env, why } => {
                tracing::warn!(
                    provider,
                    env,
                    "provider disabled: the file that the variable names {why}"
                );
            }
            ProviderState::Off if is_configured => {
                tracing::warn!(
                    provider,
                    "provider disabled: fill in its base_url (`fill`), or name a dialect that is spoken here"
                );
            }
            ProviderState::Off => tracing::debug!(provider, "provider not in service"),
        }
    }
    if !without_key.is_empty() {
        let providers = without_key.join(", ");
        tracing::info!(providers, "providers disabled, since their keys are not set");
    }
}

fn keys(store: &Store, hasher: &KeyHasher) -> Result<Keys, StartError> {
    let records = store.list_keys().map_err(|error| StartError::of("keys", error))?;
    let table = KeyTable::build(records).map_err(|error| StartError::of("keys", error))?;
    Ok(Keys { table, hasher: hasher.clone() })
}

/// A key for the first run, and one for each demo, whose printed command line has to work.
fn first_key(store: &mut Store, demo: bool) -> Result<Option<String>, StartError> {
    const DEMO: &str = "demo";
    let failed = |error| StartError::of("the first key", error);
    let known = store.list_keys().map_err(failed)?;
    if !demo && known.iter().any(|key| key.revoked_at.is_none()) {
        return Ok(None);
    }
    if demo {
        for key in known.iter().filter(|key| key.name == DEMO && key.revoked_at.is_none()) {
            store.revoke_key(key.id).map_err(failed)?;
        }
    }
    let name = if demo { DEMO } else { "first" };
    let new = NewKey { name: name.to_owned(), ..NewKey::default() };
    let (secret, _) = store.create_key(&new).map_err(failed)?;
    Ok(Some(secret.reveal().to_owned()))
}

fn cores_to_use(config: &Config) -> Vec<usize> {
    let allowed = rt::allowed_cores();
    let wanted = match config.server.cores {
        0 => allowed.len(),
        wanted => wanted,
    };
    // More threads than cores share them.
    allowed.iter().copied().cycle().take(wanted.min(usize::from(u16::MAX))).collect()
}

/// Starts one thread per core. Returns when all of them listen.
fn start_cores(
    config: &Config,
    shared: &Arc<Shared>,
    cores: &[usize],
    writers: Vec<JournalWriter>,
) -> Result<(SocketAddr, Vec<JoinHandle<()>>), StartError> {
    let mut threads = Vec::with_capacity(cores.len());
    let mut address = config.server.listen;
    let in_force = shared.in_force.load_full();
    for (index, (&core, writer)) in cores.iter().zip(writers).enumerate() {
        let (ready, is_ready) = mpsc::channel();
        let start = CoreStart {
            index: index as u16,
            core,
            pins: cores.len() <= rt::allowed_cores().len(),
            address,
            driver: config.server.driver,
            shared: Arc::clone(shared),
            writer,
            judge: in_force.for_core().map_err(|refused| StartError(refused.0))?,
            ready,
        };
        let thread = std::thread::Builder::new()
            .name(format!("pointsman-{index}"))
            .spawn(move || start.run())
            .map_err(|error| StartError::of("a thread cannot be started", error))?;
        threads.push(thread);
        let (bound, driver) = is_ready
            .recv()
            .unwrap_or_else(|_| Err("the core ended before it listened".to_owned()))
            .map_err(|error| StartError::of(&format!("listen {address}"), error))?;
        tracing::info!(core, driver = driver.name(), address = %bound, "core ready");
        // The first core may have asked for any port; the others take the same.
        address = bound;
    }
    Ok((address, threads))
}

struct CoreStart {
    index: u16,
    core: usize,
    pins: bool,
    address: SocketAddr,
    driver: DriverChoice,
    shared: Arc<Shared>,
    writer: JournalWriter,
    judge: Box<CoreJudge>,
    ready: mpsc::Sender<Result<(SocketAddr, Driver), String>>,
}

impl CoreStart {
    fn run(self) {
        if self.pins
            && let Err(error) = rt::pin_to_core(self.core)
        {
            tracing::warn!(core = self.core, %error, "the thread is not pinned");
        }
        let ready = self.ready.clone();
        let ran = rt::run(self.driver, move |driver| self.serve(driver));
        if let Err(error) = ran {
            // Nobody listens when the core was ready before; then it is only logged.
            let _ = ready.send(Err(error.to_string()));
            tracing::error!(%error, "a core failed");
        }
    }

    async fn serve(self, driver: Driver) {
        let listener = match Listener::bind(self.address) {
            Ok(listener) => Rc::new(listener),
            Err(error) => {
                let _ = self.ready.send(Err(error.to_string()));
                return;
            }
        };
        let core = Rc::new(Core::new(self.index, self.shared, self.writer, self.judge));
        let bound = listener.local_addr().unwrap_or(self.address);
        // The starter waits for this.
        let _ = self.ready.send(Ok((bound, driver)));
        rt::spawn(accept_all(Rc::clone(&core), Rc::clone(&listener)));
        let fd = listener.as_raw_fd();
        let mut accepting = true;
        loop {
            rt::sleep(watch::SWEEP).await;
            core.tick();
            let phase = &core.shared.phase;
            if phase.is_draining() {
                if std::mem::take(&mut accepting) {
                    rt::shut_down(fd);
                }
                core.watchers.close_idle();
                if phase.is_closing() {
                    core.watchers.close_all();
                }
                if core.watchers.is_empty() {
                    break;
                }
            }
        }
        core.pool.clear();
        core.hand_over_stats();
        core.tick();
    }
}

async fn accept_all(core: Rc<Core>, listener: Rc<Listener>) {
    /// How long to wait when the system has no descriptors or no memory for a connection.
    const PAUSE: Duration = Duration::from_millis(50);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                core.stats.borrow_mut().accepted += 1;
                if core.watchers.len() >= core.routing().snapshot.limits.connections {
                    // Dropping it closes it; those who are connected are not affected.
                    continue;
                }
                rt::spawn(serve::connection(Rc::clone(&core), stream));
            }
            Err(_) if core.shared.phase.is_draining() => return,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                rt::sleep(PAUSE).await;
            }
        }
    }
}
