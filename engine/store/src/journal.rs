//! The journal: where a core leaves a record before the last byte of an answer is handed over.
//!
//! A core appends through its own [`JournalWriter`]: a copy into mapped memory and a checksum, no
//! system call, no lock, no allocation. The control thread calls [`Journal::tend`] every 10 ms: it
//! lays out the next segment before it is needed, unmaps the last one, and brings what was written
//! to the disk. The store folds the files into SQLite and removes them.
//!
//! Durable against `kill -9` from the moment in which `append` returns; against loss of power from
//! the next `tend` on. Everything has a limit: see [`JournalLimits`].
//!
//! One process at a time: [`Journal::open`] takes a lock that the kernel gives back when the process
//! ends, however it ends.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;

use crate::clock::unix_us;
use crate::record::{RecordRef, fits_columns};
use crate::segment::{self, FRAME_BYTES_MAX, HEADER_BYTES, Segment, SegmentName};

/// How much the journal may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// Bytes of all segments together; beyond it [`JournalWriter::append`] refuses.
    pub room_bytes: u64,
    /// Bytes of one segment. Two per core are mapped, and the pages written count as the process's
    /// memory, so it is not large; a new one each second even at 10,000 records a second.
    pub segment_bytes: u64,
}

impl JournalLimits {
    /// The smallest segment that makes sense.
    pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
    /// The largest segment: offsets stay far from any edge.
    pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
}

/// 1 GiB in segments of 4 MiB.
impl Default for JournalLimits {
    fn default() -> JournalLimits {
        JournalLimits { room_bytes: 1 << 30, segment_bytes: 4 << 20 }
    }
}

/// Why the journal did not take a record, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has the data directory.
    #[error("another pointsman is running with this data directory (it holds {}); stop it, or give this one a directory of its own", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// The journal has taken all the room that it may take: the store does not keep up.
    #[error(
        "the journal is full: {used_bytes} bytes of {limit_bytes} are waiting to be folded into the store"
    )]
    Full {
        /// Bytes taken.
        used_bytes: u64,
        /// Bytes allowed.
        limit_bytes: u64,
    },
    /// No new segment could be made; the control thread knows why and tries again.
    #[error("the journal could not make a new segment; it is tried again every few milliseconds")]
    Blocked,
    /// A number of the record is above what the store can hold: a fault of the caller.
    #[error("a number in the record is above the greatest that the ledger holds (2^63 - 1)")]
    TooLarge,
    /// The core has a writer already.
    #[error("core {core} has a journal writer already")]
    CoreTaken {
        /// The core.
        core: u16,
    },
    /// A limit that cannot be.
    #[error("journal segments must have {min} to {max} bytes, and the room must hold at least one; found segments of {segment_bytes} in a room of {room_bytes}",
        min = JournalLimits::SEGMENT_BYTES_MIN, max = JournalLimits::SEGMENT_BYTES_MAX)]
    BadLimits {
        /// Bytes of a segment, as asked for.
        segment_bytes: u64,
        /// Bytes of all, as asked for.
        room_bytes: u64,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: "create", "sync".
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> JournalError + 'a {
    move |source| JournalError::Io { action, path: path.to_path_buf(), source }
}

/// The journal of this process. Cheap to clone; clones are the same journal. The lock is held until
/// the last clone and the last writer are gone.
#[derive(Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    limits: JournalLimits,
    /// This start of the process, in every segment's name.
    run: u128,
    /// Bytes of all segments on disk.
    used_bytes: AtomicU64,
    slots: Mutex<Vec<Arc<Slot>>>,
    _lock: File,
}

/// What a core's writer and the control thread share.
struct Slot {
    core: u16,
    /// The next segment, ready.
    standby: ArrayQueue<Segment>,
    /// Segments that the writer has left, to be unmapped elsewhere.
    retired: ArrayQueue<Segment>,
    /// The segment that the writer is at; [`CLOSED`] when there is no writer.
    current: AtomicU32,
    /// Records appended so far.
    appended: CachePadded<AtomicU64>,
    /// A segment could not be made: appending does not try again by itself.
    blocked: AtomicBool,
    /// Taken to make segments, and by nobody who has a segment at hand.
    making: Mutex<Making>,
}

/// Number of "no segment" in [`Slot::current`].
const CLOSED: u32 = u32::MAX;

/// What the control thread keeps of a core's segments.
struct Making {
    next_index: u32,
    /// Segments of which not all is known to be on the disk.
    unsynced: Vec<(u32, Arc<File>)>,
    /// [`Slot::appended`] at the last sync.
    synced: u64,
}

/// A segment's place between writer and fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentState {
    /// Nobody will write it any more.
    Sealed,
    /// Its core is writing it.
    Live,
    /// Laid out for later.
    Standby,
}

impl Journal {
    /// Opens the journal under a data directory, which is made when it is not there, and takes its
    /// lock. What an earlier process left is kept for the fold.
    pub fn open(data_dir: &Path, limits: JournalLimits) -> Result<Journal, JournalError> {
        let sizes = JournalLimits::SEGMENT_BYTES_MIN..=JournalLimits::SEGMENT_BYTES_MAX;
        if !sizes.contains(&limits.segment_bytes) || limits.room_bytes < limits.segment_bytes {
            return Err(JournalError::BadLimits {
                segment_bytes: limits.segment_bytes,
                room_bytes: limits.room_bytes,
            });
        }
        let folder = data_dir.join("journal");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(io_error("create", &folder))?;
        let lock = take_lock(&folder.join("lock"))?;
        let journal = Journal {
            shared: Arc::new(Shared {
                run: new_run().map_err(io_error("name a segment in", &folder))?,
                folder,
                limits,
                used_bytes: AtomicU64::new(0),
                slots: Mutex::new(Vec::new()),
                _lock: lock,
            }),
        };
        journal.take_stock()?;
        Ok(journal)
    }

    /// Adds up what is there, and removes segments that were never finished being made.
    fn take_stock(&self) -> Result<(), JournalError> {
        let folder = &self.shared.folder;
        let read = io_error("read", folder);
        let entries: Vec<_> =
            fs::read_dir(folder).and_then(Iterator::collect::<io::Result<_>>).map_err(read)?;
        for entry in entries {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            } else if entry.file_name().to_str().and_then(SegmentName::parse).is_some() {
                let bytes = entry.metadata().map_err(io_error("read", &path))?.len();
                self.shared.used_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// The writer of one core. Its first segment is made here.
    pub fn writer(&self, core: u16) -> Result<JournalWriter, JournalError> {
        let slot = {
            let mut slots = lock(&self.shared.slots);
            match slots.iter().find(|slot| slot.core == core) {
                Some(slot) => slot.clone(),
                None => {
                    slots.push(Arc::new(Slot::new(core)));
                    slots[slots.len() - 1].clone()
                }
            }
        };
        let segment = {
            let mut making = lock(&slot.making);
            if slot.current.load(Ordering::Acquire) != CLOSED {
                return Err(JournalError::CoreTaken { core });
            }
            let segment = self.shared.make_segment(core, &mut making, Durable::Yes)?;
            slot.current.store(segment.name().index, Ordering::Release);
            segment
        };
        let appended = slot.appended.load(Ordering::Relaxed);
        Ok(JournalWriter { segment, appended, slot, shared: self.shared.clone() })
    }

    /// The control thread's part, every 10 ms or so: lays out segments, unmaps old ones, brings what
    /// was written to the disk. Waits for the disk, so it is no call for an event loop. All cores
    /// are tended even when one fails; the first error is given back.
    pub fn tend(&self) -> Result<(), JournalError> {
        let slots = lock(&self.shared.slots).clone();
        let mut result = Ok(());
        for slot in slots {
            while slot.retired.pop().is_some() {}
            let laid_out = self.shared.lay_out(&slot);
            let synced = self.shared.sync(&slot);
            result = result.and(laid_out).and(synced);
        }
        result
    }

    /// Bytes that all segments take on disk.
    pub fn used_bytes(&self) -> u64 {
        self.shared.used_bytes.load(Ordering::Relaxed)
    }

    /// Records appended by this process, over all cores.
    pub fn appended(&self) -> u64 {
        lock(&self.shared.slots).iter().map(|slot| slot.appended.load(Ordering::Relaxed)).sum()
    }

    /// All segments in the order of their names, with their states as they were before the files
    /// are read.
    pub(crate) fn segments(&self) -> Result<Vec<(SegmentName, SegmentState)>, JournalError> {
        let folder = &self.shared.folder;
        let entries = fs::read_dir(folder).map_err(io_error("read", folder))?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("read", folder))?;
            names.extend(entry.file_name().to_str().and_then(SegmentName::parse));
        }
        names.sort_unstable();
        let slots = lock(&self.shared.slots);
        Ok(names.into_iter().map(|name| (name, self.state(name, &slots))).collect())
    }

    fn state(&self, name: SegmentName, slots: &[Arc<Slot>]) -> SegmentState {
        let slot = slots.iter().find(|slot| slot.core == name.core);
        let Some(slot) = slot.filter(|_| name.run == self.shared.run) else {
            return SegmentState::Sealed;
        };
        // Acquire: when the writer is seen to have left a segment, all of the segment is seen.
        let current = slot.current.load(Ordering::Acquire);
        match name.index.cmp(&current) {
            std::cmp::Ordering::Less => SegmentState::Sealed,
            std::cmp::Ordering::Equal => SegmentState::Live,
            std::cmp::Ordering::Greater => SegmentState::Standby,
        }
    }

    pub(crate) fn path(&self, name: SegmentName) -> PathBuf {
        self.shared.folder.join(name.file_name())
    }

    /// Takes a folded segment out of the journal: removed, or, when it was damaged, renamed and kept.
    pub(crate) fn retire(&self, name: SegmentName, damaged: bool) -> Result<(), JournalError> {
        let path = self.path(name);
        let bytes = fs::metadata(&path).map_err(io_error("read", &path))?.len();
        if damaged {
            fs::rename(&path, path.with_extension("damaged")).map_err(io_error("rename", &path))?;
        } else {
            fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        self.shared.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// Whether a new segment's blocks are brought to the disk at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    Later,
}

impl Shared {
    /// Makes the core's next segment.
    fn make_segment(
        &self,
        core: u16,
        making: &mut Making,
        durable: Durable,
    ) -> Result<Segment, JournalError> {
        let bytes = self.limits.segment_bytes;
        self.check_room()?;
        let name = SegmentName { run: self.run, core, index: making.next_index };
        let path = self.folder.join(name.file_name());
        // Only a whole segment gets a segment's name: one that a crash left half made is no segment.
        let unfinished = path.with_extension("new");
        let made = (|| {
            let file = segment::create(&unfinished, name, bytes)?;
            if durable == Durable::Yes {
                file.sync_all()?;
            }
            let segment = Segment::map(&file, name)?;
            fs::rename(&unfinished, &path)?;
            if durable == Durable::Yes {
                File::open(&self.folder)?.sync_all()?;
            }
            Ok((file, segment))
        })();
        let (file, segment) = made.map_err(|source| {
            // Gives a full disk back what was taken. When even that fails, the next start does it.
            let _ = fs::remove_file(&unfinished);
            io_error("create", &path)(source)
        })?;
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        making.next_index += 1;
        making.unsynced.push((name.index, Arc::new(file)));
        Ok(segment)
    }

    fn check_room(&self) -> Result<(), JournalError> {
        let used_bytes = self.used_bytes.load(Ordering::Relaxed);
        let limit_bytes = self.limits.room_bytes;
        if used_bytes.saturating_add(self.limits.segment_bytes) > limit_bytes {
            return Err(JournalError::Full { used_bytes, limit_bytes });
        }
        Ok(())
    }

    /// Sees to it that a segment stands by. A journal that is full is no fault of the disk: the
    /// writer says so itself, when it gets there.
    fn lay_out(&self, slot: &Slot) -> Result<(), JournalError> {
        if slot.standby.is_full() || self.check_room().is_err() {
            return Ok(());
        }
        let mut making = lock(&slot.making);
        if slot.current.load(Ordering::Acquire) == CLOSED || slot.standby.is_full() {
            return Ok(());
        }
        let made = self.make_segment(slot.core, &mut making, Durable::Yes);
        slot.blocked.store(made.is_err(), Ordering::Release);
        // The queue has a place: only holders of `making` push.
        slot.standby.force_push(made?);
        Ok(())
    }

    /// Brings to the disk what the core has appended since the last time.
    fn sync(&self, slot: &Slot) -> Result<(), JournalError> {
        // In this order: whatever is counted lies in `current` or before it.
        let appended = slot.appended.load(Ordering::Acquire);
        let current = slot.current.load(Ordering::Acquire);
        let files: Vec<(u32, Arc<File>)> = {
            let making = lock(&slot.making);
            if making.synced == appended {
                return Ok(());
            }
            let used = making.unsynced.iter().filter(|(index, _)| *index <= current);
            used.cloned().collect()
        };
        // The lock is not held while the disk works: a writer without a segment would wait for it.
        for (_, file) in &files {
            file.sync_data().map_err(io_error("sync", &self.folder))?;
        }
        let mut making = lock(&slot.making);
        making.unsynced.retain(|(index, _)| *index >= current);
        making.synced = appended;
        Ok(())
    }
}

impl Slot {
    fn new(core: u16) -> Slot {
        Slot {
            core,
            standby: ArrayQueue::new(1),
            retired: ArrayQueue::new(4),
            current: AtomicU32::new(CLOSED),
            appended: CachePadded::new(AtomicU64::new(0)),
            blocked: AtomicBool::new(false),
            making: Mutex::new(Making { next_index: 0, unsynced: Vec::new(), synced: 0 }),
        }
    }
}

/// One core's end of the journal.
pub struct JournalWriter {
    segment: Segment,
    appended: u64,
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl JournalWriter {
    /// Keeps the record: when this returns `Ok`, the record survives `kill -9`.
    ///
    /// A copy and a checksum, except once in a segment, when the next one is taken from the control
    /// thread. Only if that thread is behind is the segment made here, which takes milliseconds.
    pub fn append(&mut self, record: &RecordRef<'_>) -> Result<(), JournalError> {
        if !fits_columns(record) {
            return Err(JournalError::TooLarge);
        }
        while !self.segment.append(record) {
            self.roll()?;
        }
        self.appended += 1;
        self.slot.appended.store(self.appended, Ordering::Release);
        Ok(())
    }

    /// Whether a request may be let in: there is room for its record and for those of many others
    /// that are under way. Asked before the request goes anywhere, so that none has to be dropped
    /// from the ledger afterwards.
    pub fn has_room(&self) -> bool {
        self.segment.room() as u64 >= self.shared.limits.segment_bytes / 4
            || !self.slot.standby.is_empty()
            || (self.shared.check_room().is_ok() && !self.slot.blocked.load(Ordering::Acquire))
    }

    /// Goes on to the next segment.
    #[cold]
    fn roll(&mut self) -> Result<(), JournalError> {
        let next = match self.slot.standby.pop() {
            Some(next) => next,
            None => self.make_next()?,
        };
        debug_assert!(next.room() >= FRAME_BYTES_MAX);
        let index = next.name().index;
        let old = std::mem::replace(&mut self.segment, next);
        // Release: who sees the new index sees everything in the old segment.
        self.slot.current.store(index, Ordering::Release);
        // When the control thread has not come by for long, it is unmapped here.
        drop(self.slot.retired.push(old));
        Ok(())
    }

    fn make_next(&self) -> Result<Segment, JournalError> {
        self.shared.check_room()?;
        if self.slot.blocked.load(Ordering::Acquire) {
            return Err(JournalError::Blocked);
        }
        let mut making = lock(&self.slot.making);
        if let Some(next) = self.slot.standby.pop() {
            return Ok(next); // made while we waited
        }
        let made = self.shared.make_segment(self.slot.core, &mut making, Durable::Later);
        self.slot.blocked.store(made.is_err(), Ordering::Release);
        made
    }
}

/// Seals the core's segments, so that the fold takes them to their ends.
impl Drop for JournalWriter {
    fn drop(&mut self) {
        let _making = lock(&self.slot.making);
        self.slot.current.store(CLOSED, Ordering::Release);
        // The segment that stood by is sealed now, and empty; the fold removes it.
        self.slot.standby.pop();
    }
}

/// A poisoned lock is taken all the same: the data under it is changed by single assignments.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_lock(path: &Path) -> Result<File, JournalError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(io_error("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(JournalError::InUse { path: path.to_path_buf() }),
        Err(fs::TryLockError::Error(source)) => Err(io_error("lock", path)(source)),
    }
}

/// Time first, so that names sort; random bits after it, so that two starts never share a name.
fn new_run() -> io::Result<u128> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(u128::from(unix_us()) << 64 | u128::from(u64::from_le_bytes(random)))
}

const _: () = assert!(
    JournalLimits::SEGMENT_BYTES_MIN >= HEADER_BYTES + 4 * FRAME_BYTES_MAX as u64,
    "the smallest segment holds several of the longest records"
);
