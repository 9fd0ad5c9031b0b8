//! One file of the journal: its layout, how a core writes it, how the fold reads it.
//!
//! ```text
//! segment: header (64 bytes) frame frame frame ... zeros
//! frame:   commit word (8)   length << 32 | crc32; 0 means "not written"
//!          sequence (8)      0, 1, 2, ... within the segment
//!          payload           one record, padded to 16 bytes
//! ```
//!
//! A frame counts once its commit word stands, and the word is written last, as one aligned store.
//! What a process has stored to a shared file mapping belongs to the kernel: `kill -9` loses none
//! of it. The crc covers the segment's name and the frame's offset too, so that bytes which were
//! moved or are left from elsewhere are not taken for a record.
//!
//! The reader never looks through the mapping: it reads the file, which on Linux is the same pages.
//! Never: two writers of one segment; a segment that is used again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use rkyv::util::AlignedVec;

use crate::record::{ENCODED_BYTES_MAX, RecordRef, decode, encode};

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: u64 = 64;
/// Commit word and sequence.
const FRAME_HEADER_BYTES: usize = 16;
/// Frames start at multiples of this, so that a payload can be read where it lies.
const ALIGN: usize = 16;
/// The longest frame.
pub(crate) const FRAME_BYTES_MAX: usize =
    (FRAME_HEADER_BYTES + ENCODED_BYTES_MAX).next_multiple_of(ALIGN);
/// Bytes that the fold reads at once.
const WINDOW_BYTES: usize = 256 << 10;

const MAGIC: [u8; 8] = *b"pm-jrnl\n";
/// Layout of the payload. A new one is read beside the old one, never instead of it.
const LAYOUT: u32 = 1;
/// End of the names of segments.
const SUFFIX: &str = ".journal";

/// Identity of a segment: which start of the process, which core, the how-maniest. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentName {
    /// Start time in microseconds in the upper half, random bits in the lower.
    pub(crate) run: u128,
    pub(crate) core: u16,
    pub(crate) index: u32,
}

impl SegmentName {
    /// The file's name; names sort by start, core and index.
    pub(crate) fn file_name(&self) -> String {
        let SegmentName { run, core, index } = self;
        format!("{run:032x}-{core:05}-{index:010}{SUFFIX}")
    }

    pub(crate) fn parse(file_name: &str) -> Option<SegmentName> {
        let mut parts = file_name.strip_suffix(SUFFIX)?.split('-');
        let name = SegmentName {
            run: u128::from_str_radix(parts.next()?, 16).ok()?,
            core: parts.next()?.parse().ok()?,
            index: parts.next()?.parse().ok()?,
        };
        // Only the canonical spelling: two files must never stand for one segment.
        (name.file_name() == file_name).then_some(name)
    }

    /// Start value of every crc in the segment.
    fn seed(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.run.to_le_bytes());
        hasher.update(&self.core.to_le_bytes());
        hasher.update(&self.index.to_le_bytes());
        hasher.finalize()
    }
}

fn frame_crc(seed: u32, offset: u64, sequence: u64, payload: &[u8]) -> u32 {
    let mut place = [0u8; 16];
    place[..8].copy_from_slice(&offset.to_le_bytes());
    place[8..].copy_from_slice(&sequence.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(&place);
    hasher.update(payload);
    hasher.finalize()
}

/// Makes a segment's file at `path`, all of its blocks written with zeros: a full disk shows here as
/// an error and not later as a signal, and the first store to a page finds its block in place.
pub(crate) fn create(path: &Path, name: SegmentName, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    reserve(&file, bytes)?;
    let zeros = vec![0u8; (128 << 10).min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let length = zeros.len().min((bytes - at) as usize);
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    file.write_all_at(&header(name), 0)?;
    Ok(file)
}

/// Asks for the space first, so that a full disk refuses before anything is written. File systems
/// without the call say so; there the zeros that follow take the space.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    // SAFETY: the descriptor is open for the length of the call, and the call touches no memory.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes as libc::off_t) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => Ok(()),
        _ => Err(error),
    }
}

fn header(name: SegmentName) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0u8; HEADER_BYTES as usize];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
    header[12..16].copy_from_slice(&name.seed().to_le_bytes());
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A segment as its core writes it.
pub(crate) struct Segment {
    map: MmapRaw,
    name: SegmentName,
    seed: u32,
    offset: usize,
    sequence: u64,
}

impl Segment {
    /// Maps a file that [`create`] has just made.
    pub(crate) fn map(file: &File, name: SegmentName) -> io::Result<Segment> {
        Ok(Segment {
            map: MmapOptions::new().map_raw(file)?,
            name,
            seed: name.seed(),
            offset: HEADER_BYTES as usize,
            sequence: 0,
        })
    }

    pub(crate) fn name(&self) -> SegmentName {
        self.name
    }

    /// Bytes that are left.
    pub(crate) fn room(&self) -> usize {
        self.map.len() - self.offset
    }

    /// Writes one record. False when there is no room for the longest one.
    pub(crate) fn append(&mut self, record: &RecordRef<'_>) -> bool {
        if self.room() < FRAME_BYTES_MAX {
            return false;
        }
        // SAFETY: `offset + FRAME_BYTES_MAX` is within the mapping, by the check above. The slice
        // ends before this function does; `&mut self` keeps every other user of the mapping in this
        // process away, the journal's lock keeps other processes out of the file, and the fold
        // reads the file with system calls and not through memory.
        let (frame, payload) = unsafe {
            let frame = self.map.as_mut_ptr().add(self.offset);
            let payload = frame.add(FRAME_HEADER_BYTES);
            (frame, std::slice::from_raw_parts_mut(payload, ENCODED_BYTES_MAX))
        };
        let Some(length) = encode(record, payload) else {
            return false;
        };
        let crc = frame_crc(self.seed, self.offset as u64, self.sequence, &payload[..length]);
        let commit = (length as u64) << 32 | u64::from(crc);
        // SAFETY: both words lie in the frame's first 16 bytes, within the mapping; frames start at
        // multiples of 16 of a page-aligned mapping, so they are aligned; nothing else in this
        // process accesses them.
        unsafe {
            let words = frame.cast::<u64>();
            words.add(1).write(self.sequence.to_le());
            AtomicU64::from_ptr(words).store(commit.to_le(), Ordering::Release);
        }
        self.offset += (FRAME_HEADER_BYTES + length).next_multiple_of(ALIGN);
        self.sequence += 1;
        true
    }
}

/// How far a segment has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Where the next frame starts.
    pub(crate) offset: u64,
    /// The sequence that it must have.
    pub(crate) sequence: u64,
}

impl Position {
    pub(crate) const START: Position = Position { offset: HEADER_BYTES, sequence: 0 };
}

/// A part of a file in memory; kept between segments for its allocation.
pub(crate) struct Window {
    bytes: AlignedVec<16>,
    start: u64,
    filled: usize,
}

impl Window {
    pub(crate) fn new() -> Window {
        let mut bytes = AlignedVec::new();
        bytes.resize(WINDOW_BYTES, 0);
        Window { bytes, start: 0, filled: 0 }
    }

    fn clear(&mut self) {
        self.filled = 0;
    }

    /// The place of `length` bytes of the file from `offset`; none when the file ends before.
    fn load(&mut self, file: &File, offset: u64, length: usize) -> io::Result<Option<usize>> {
        let here =
            offset >= self.start && offset + length as u64 <= self.start + self.filled as u64;
        if !here {
            self.start = offset;
            self.filled = 0;
            while self.filled < length {
                let free = &mut self.bytes[self.filled..];
                match file.read_at(free, offset + self.filled as u64) {
                    Ok(0) => return Ok(None),
                    Ok(count) => self.filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Some((offset - self.start) as usize))
    }
}

/// What stands at one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A frame: where its payload lies in the window, its sequence, and where the next one starts.
    Frame { at: usize, length: usize, sequence: u64, next: u64 },
    /// A commit word of zero, or the end of the file.
    Blank,
    /// A commit word that no frame belongs to.
    Torn,
}

/// What a reader finds.
#[expect(clippy::large_enum_variant, reason = "it is a return value, taken apart at once")]
pub(crate) enum Next<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// A frame with a true checksum that holds no record; counted as lost.
    Unreadable,
    /// The end of what is there now.
    End,
}

/// Reads a segment frame by frame, steps over damage, and never reads a frame twice.
pub(crate) struct SegmentReader<'w> {
    file: File,
    seed: u32,
    sealed: bool,
    position: Position,
    window: &'w mut Window,
    lost: u64,
    finished: bool,
}

impl<'w> SegmentReader<'w> {
    /// `sealed`: no process will write this segment any more, so that its end is the end.
    pub(crate) fn open(
        path: &Path,
        name: SegmentName,
        sealed: bool,
        position: Position,
        window: &'w mut Window,
    ) -> io::Result<SegmentReader<'w>> {
        let file = File::open(path)?;
        window.clear();
        if let Some(at) = window.load(&file, 0, HEADER_BYTES as usize)? {
            let found = &window.bytes[at..at + HEADER_BYTES as usize];
            let intact =
                found[..8] == MAGIC && found[60..] == crc32fast::hash(&found[..60]).to_le_bytes();
            // A header that is damaged tells nothing, and the name has all that is needed. One that
            // is intact and of another layout is of another version of this program.
            if intact && found[8..12] != LAYOUT.to_le_bytes() {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "written by another version of pointsman, in a layout that this one cannot read",
                ));
            }
        }
        Ok(SegmentReader {
            file,
            seed: name.seed(),
            sealed,
            position,
            window,
            lost: 0,
            finished: false,
        })
    }

    /// The next record, or what stands in its place.
    pub(crate) fn next(&mut self) -> io::Result<Next<'_>> {
        let Some((at, length)) = self.advance()? else {
            return Ok(Next::End);
        };
        Ok(match decode(&self.window.bytes[at..at + length]) {
            Some(record) => Next::Record(record),
            None => {
                self.lost += 1;
                Next::Unreadable
            }
        })
    }

    /// Where the next record will be looked for.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Records that had been committed and cannot be read any more.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether the segment is sealed and read to its end.
    pub(crate) fn finished(&self) -> bool {
        self.finished
    }

    fn advance(&mut self) -> io::Result<Option<(usize, usize)>> {
        if self.finished {
            return Ok(None);
        }
        let offset = self.position.offset;
        let mut look = self.look(offset)?;
        if look == Look::Torn {
            // Read while it was being written, perhaps. The commit word stands, so everything before
            // it stands: a second look tells for sure.
            fence(Ordering::Acquire);
            self.window.clear();
            look = self.look(offset)?;
        }
        let torn = look == Look::Torn;
        if look == Look::Blank && !self.sealed {
            return Ok(None);
        }
        if !matches!(look, Look::Frame { .. }) {
            look = self.salvage(offset)?;
        }
        match look {
            Look::Frame { at, length, sequence, next } => {
                self.lost += sequence - self.position.sequence;
                self.position = Position { offset: next, sequence: sequence + 1 };
                Ok(Some((at, length)))
            }
            Look::Blank | Look::Torn => {
                if self.sealed {
                    self.finished = true;
                    self.lost += u64::from(torn);
                }
                Ok(None)
            }
        }
    }

    /// The first frame behind a place where none is. In a sealed segment a blank place is its end,
    /// unless the machine lost power and one page reached the disk without the one before it.
    fn salvage(&mut self, from: u64) -> io::Result<Look> {
        let bytes = self.file.metadata()?.len();
        let mut offset = from + ALIGN as u64;
        while offset < bytes {
            let look = self.look(offset)?;
            if matches!(look, Look::Frame { .. }) {
                return Ok(look);
            }
            offset += ALIGN as u64;
        }
        Ok(Look::Blank)
    }

    fn look(&mut self, offset: u64) -> io::Result<Look> {
        let Some(at) = self.window.load(&self.file, offset, FRAME_HEADER_BYTES)? else {
            return Ok(Look::Blank);
        };
        let commit = word(&self.window.bytes, at);
        let sequence = word(&self.window.bytes, at + 8);
        if commit == 0 {
            return Ok(Look::Blank);
        }
        let length = (commit >> 32) as usize;
        if length == 0 || length > ENCODED_BYTES_MAX || sequence < self.position.sequence {
            return Ok(Look::Torn);
        }
        let frame_bytes = FRAME_HEADER_BYTES + length;
        let Some(at) = self.window.load(&self.file, offset, frame_bytes)? else {
            return Ok(Look::Torn);
        };
        let at = at + FRAME_HEADER_BYTES;
        let payload = &self.window.bytes[at..at + length];
        if frame_crc(self.seed, offset, sequence, payload) != commit as u32 {
            return Ok(Look::Torn);
        }
        Ok(Look::Frame {
            at,
            length,
            sequence,
            next: offset + frame_bytes.next_multiple_of(ALIGN) as u64,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0u8; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_and_sort_by_time() {
        let name = SegmentName { run: 5 << 64 | 3, core: 12, index: 7 };
        assert_eq!(SegmentName::parse(&name.file_name()), Some(name));
        let later = SegmentName { index: 10, ..name };
        assert!(name.file_name() < later.file_name());
        for foreign in ["", "lock", "x.journal", "1-2-3.journal", "a-b-c-d.journal"] {
            assert_eq!(SegmentName::parse(foreign), None, "{foreign}");
        }
    }
}
