//! Decoding the wanted frames of a video, each exactly, with as little decoding as pays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffmpeg_next::{Error, Packet, codec, frame};

use super::colour::ToRgb;
use super::index::VideoIndex;
use super::open::Opened;
use super::rotate;
use crate::media::limits::Watch;
use crate::media::turn::Turn;
use crate::resize::Picture;
use crate::{DataError, ffi};

/// A jump pays when it skips more than so many frames: measured, flushing costs about four frames.
const MIN_JUMP_FRAMES: usize = 4;
/// Tries to land before the wanted frame.
const MAX_SEEKS: usize = 3;

/// A video file whose packets have been scanned.
pub struct Video {
    path: PathBuf,
    index: Arc<VideoIndex>,
    watch: Watch,
    rotate: bool,
    jump: bool,
}

/// Tells by time stamp which frames are wanted; `None`: all.
type Wanted<'a> = Option<&'a dyn Fn(i64) -> bool>;
/// Takes the wanted frames, not yet converted.
type Show<'a> = dyn FnMut(&frame::Video) -> Result<(), DataError> + 'a;

impl Video {
    /// Opens a file and scans its packets, unless `index` is known from an earlier scan.
    ///
    /// # Errors
    /// When it is missing, no video, has no frames, or passes a limit.
    pub fn open(
        path: &Path,
        index: Option<Arc<VideoIndex>>,
        watch: Watch,
    ) -> Result<Self, DataError> {
        let mut video =
            Self { path: path.to_owned(), index: Arc::default(), watch, rotate: true, jump: true };
        video.index = match index {
            Some(index) => index,
            None => Arc::new(video.scan()?),
        };
        if video.index.frames == 0 {
            let message = "no frame can be decoded".to_owned();
            return Err(DataError::Decode { path: path.to_owned(), message });
        }
        Ok(video)
    }

    /// What is known of the file.
    pub fn index(&self) -> &Arc<VideoIndex> {
        &self.index
    }

    /// Whether the display matrix is followed (it is, unless told otherwise).
    #[must_use]
    pub fn rotate(self, rotate: bool) -> Self {
        Self { rotate, ..self }
    }

    /// Whether seeks are allowed (they are, unless told otherwise); the frames are the same.
    #[must_use]
    pub fn jump(self, jump: bool) -> Self {
        Self { jump, ..self }
    }

    fn scan(&mut self) -> Result<VideoIndex, DataError> {
        let mut opened = Opened::new(&self.path, &self.watch)?;
        let (mut index, stamps) = VideoIndex::scan(&mut opened, &self.path, &mut self.watch)?;
        if !index.timed {
            // The number of packets says little here; only decoding tells the number of frames.
            let mut count = 0;
            self.decode_all(&mut |_| {
                count += 1;
                Ok(())
            })?;
            index.frames = count;
        }
        index.settle(&opened, stamps);
        Ok(index)
    }

    /// Decodes every frame in order, without conversion.
    fn decode_all(&mut self, each: &mut Show<'_>) -> Result<(), DataError> {
        let mut run = Run::start(self)?;
        while run.advance(&mut self.watch, None)? {
            each(&run.frame)?;
        }
        Ok(())
    }

    /// Hands the frames of these ascending numbers to `sink`, one after the other.
    ///
    /// # Errors
    /// When too many of them cannot be decoded, or a limit is reached, or `sink` fails.
    pub fn read(
        &mut self,
        wanted: &[usize],
        sink: &mut dyn FnMut(Picture<'_>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        let mut rgb = ToRgb::default();
        let run = Run::start(self)?;
        let turn = if self.rotate { run.turn() } else { Turn::default() };
        let (path, limits) = (self.path.clone(), self.watch.limits().clone());
        let mut show = |frame: &frame::Video| {
            let picture = rgb.convert(frame, &path, &limits)?;
            if turn.is_none() { sink(picture) } else { sink(turn.apply(picture).view()) }
        };
        let index = Arc::clone(&self.index);
        if index.timed {
            self.read_timed(run, &index, wanted, &mut show)
        } else {
            self.read_counted(run, wanted, &mut show)
        }
    }

    /// Matches frames by time stamp; a frame that does not come is replaced by the next one, or by the last.
    fn read_timed(
        &mut self,
        mut run: Run,
        index: &VideoIndex,
        wanted: &[usize],
        show: &mut Show<'_>,
    ) -> Result<(), DataError> {
        let is_wanted = wanted_pts(index, wanted);
        let mut missing = 0;
        for &number in wanted {
            let target = index.pts[number.min(index.frames - 1)];
            if run.pts < target && self.jump && index.seekable && run.pays(index, number) {
                run.jump(self, target)?;
            }
            if !run.reach(target, &mut self.watch, &is_wanted)? && run.jumped {
                // After a jump into an open GOP, h264 may keep the last frames of a file to itself.
                run.start_over(self)?;
                run.reach(target, &mut self.watch, &is_wanted)?;
            }
            if !run.has_frame {
                return Err(self.missing(wanted.len(), wanted.len()));
            }
            missing += usize::from(run.pts != target);
            show(&run.frame)?;
        }
        self.tolerate(missing, wanted.len())
    }

    /// Counts frames in the order of output, where time stamps do not tell.
    fn read_counted(
        &mut self,
        mut run: Run,
        wanted: &[usize],
        show: &mut Show<'_>,
    ) -> Result<(), DataError> {
        let (mut count, mut missing) = (0, 0);
        for &number in wanted {
            while count <= number && run.advance(&mut self.watch, None)? {
                count += 1;
            }
            if !run.has_frame {
                return Err(self.missing(wanted.len(), wanted.len()));
            }
            missing += usize::from(count <= number);
            show(&run.frame)?;
        }
        self.tolerate(missing, wanted.len())
    }

    fn tolerate(&self, missing: usize, wanted: usize) -> Result<(), DataError> {
        if missing as f64 <= self.watch.limits().max_missing * wanted as f64 {
            return Ok(());
        }
        Err(self.missing(missing, wanted))
    }

    fn missing(&self, missing: usize, wanted: usize) -> DataError {
        let message = format!("{missing} of {wanted} wanted frames cannot be decoded");
        DataError::Decode { path: self.path.clone(), message }
    }
}

/// Whether the frame of a time stamp is wanted.
fn wanted_pts<'a>(index: &'a VideoIndex, wanted: &'a [usize]) -> impl Fn(i64) -> bool + use<'a> {
    move |pts| index.pts.binary_search(&pts).is_ok_and(|at| wanted.binary_search(&at).is_ok())
}

/// One pass through a file.
struct Run {
    path: PathBuf,
    opened: Opened,
    decoder: codec::decoder::Video,
    /// The latest frame, and where the next one is decoded into.
    frame: frame::Video,
    spare: frame::Video,
    has_frame: bool,
    /// Time stamp of the latest frame; the least number before the first one.
    pts: i64,
    draining: bool,
    jumped: bool,
    /// A packet that was read ahead.
    pending: Option<Packet>,
}

impl Run {
    /// Opens the file anew: seeking to its start is not exact in every container.
    fn start(video: &Video) -> Result<Self, DataError> {
        let opened = Opened::new(&video.path, &video.watch)?;
        let decoder = opened.decoder(&video.path)?;
        Ok(Self {
            path: video.path.clone(),
            opened,
            decoder,
            frame: frame::Video::empty(),
            spare: frame::Video::empty(),
            has_frame: false,
            pts: i64::MIN,
            draining: false,
            jumped: false,
            pending: None,
        })
    }

    /// How the stream's pictures are turned before they are shown.
    fn turn(&self) -> Turn {
        rotate::of_stream(&self.opened.input, self.opened.stream)
    }

    fn pays(&self, index: &VideoIndex, number: usize) -> bool {
        let position = index.pts.partition_point(|&pts| pts <= self.pts);
        index.key_before(number) > position + MIN_JUMP_FRAMES
    }

    /// Seeks to the last key frame at or before `target`; where the container lands behind it, starts over without jumps.
    fn jump(&mut self, video: &mut Video, target: i64) -> Result<(), DataError> {
        let mut aim = target;
        for _ in 0..MAX_SEEKS {
            if !ffi::seek(&mut self.opened.input, self.opened.stream, aim) {
                break;
            }
            self.decoder.flush();
            self.draining = false;
            self.pending = self.opened.next_packet(&self.path, &mut video.watch)?;
            match self.pending.as_ref().and_then(|packet| Some((packet.pts()?, packet.dts()?))) {
                // Containers seek by decoding time: with open GOPs that can be a key frame shown only after `target`.
                Some((pts, dts)) if pts > target => aim = dts.min(aim) - 1,
                Some(_) => return self.land(video, target),
                None => break,
            }
        }
        self.start_over(video)
    }

    /// Decodes the first frame after a seek; a decoder may hold back frames until it has recovered.
    fn land(&mut self, video: &mut Video, target: i64) -> Result<(), DataError> {
        self.jumped = true;
        if self.advance(&mut video.watch, None)? && self.pts <= target {
            return Ok(());
        }
        self.start_over(video)
    }

    /// Decodes up to a time stamp; `false` when the file ends before.
    fn reach(
        &mut self,
        target: i64,
        watch: &mut Watch,
        wanted: &dyn Fn(i64) -> bool,
    ) -> Result<bool, DataError> {
        while self.pts < target {
            if !self.advance(watch, Some(wanted))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn start_over(&mut self, video: &mut Video) -> Result<(), DataError> {
        video.jump = false;
        *self = Self::start(video)?;
        Ok(())
    }

    /// Decodes up to the next frame; `false` at the end, where the latest frame stays.
    ///
    /// Frames that nothing refers to are not decoded unless `wanted`.
    fn advance(&mut self, watch: &mut Watch, wanted: Wanted<'_>) -> Result<bool, DataError> {
        loop {
            watch.check(&self.path)?;
            match self.decoder.receive_frame(&mut self.spare) {
                Ok(()) => {
                    std::mem::swap(&mut self.frame, &mut self.spare);
                    self.pts = self.frame.pts().or(self.frame.timestamp()).unwrap_or(self.pts);
                    self.has_frame = true;
                    return Ok(true);
                }
                Err(Error::Eof) => return Ok(false),
                Err(_) if self.draining => return Ok(false),
                Err(_) => self.send(watch, wanted)?,
            }
        }
    }

    /// Sends the next packet; a broken one is passed over.
    fn send(&mut self, watch: &mut Watch, wanted: Wanted<'_>) -> Result<(), DataError> {
        let packet = match self.pending.take() {
            Some(packet) => Some(packet),
            None => self.opened.next_packet(&self.path, watch)?,
        };
        let Some(packet) = packet else {
            self.draining = true;
            self.decoder.skip_frame(codec::discard::Discard::Default);
            let _ = self.decoder.send_eof();
            return Ok(());
        };
        self.decoder.skip_frame(skip(&packet, wanted));
        let _ = self.decoder.send_packet(&packet);
        Ok(())
    }
}

fn skip(packet: &Packet, wanted: Wanted<'_>) -> codec::discard::Discard {
    match (wanted, packet.pts()) {
        (Some(wanted), Some(pts)) if !wanted(pts) => codec::discard::Discard::NonReference,
        _ => codec::discard::Discard::Default,
    }
}
