//! Where the frames of a file are: time stamps and key frames, from its packets alone.

use std::path::Path;

use ffmpeg_next::{Rational, ffi as flags};
use serde::{Deserialize, Serialize};

use super::open::Opened;
use super::stamps::{Stamp, Stamps, is_near};
use crate::media::limits::Watch;
use crate::{DataError, ffi};

/// Factor by which a rate in the header may differ from the one of the stamps.
const RATE_LIE: f64 = 1.1;
/// Factor by which `FFmpeg`'s guess at a rate may differ from the one of the stamps.
const GUESS_LIE: f64 = 1.01;
/// Factor by which a duration in the header may differ from the one of the stamps.
const DURATION_LIE: f64 = 1.5;
/// From here on a rate without stamps that bear it out is the resolution of a clock, in frames per second.
const CLOCK_RATE: f64 = 1000.0;

/// What a scan of all packets tells about a video.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VideoIndex {
    /// Time stamps of the frames in the order of showing, in units of the time base; one per frame.
    pub pts: Vec<i64>,
    /// Time stamps of the key frames, ascending.
    pub keys: Vec<i64>,
    /// Whether all frames have time stamps of their own, which never start again.
    pub timed: bool,
    /// Whether jumping to a time stamp is exact in this container.
    pub seekable: bool,
    /// Frames; for files without time stamps the frames that decode.
    pub frames: usize,
    /// Average frames per second, as the container says; by the time stamps where it says none or lies. 0: unknown.
    pub fps: f64,
    /// Duration by the container, in seconds; by the time stamps where it says none or lies.
    pub duration_s: Option<f64>,
    /// Pixels across, as coded.
    pub width: u32,
    /// Pixels down, as coded.
    pub height: u32,
    /// Name of the codec.
    pub codec: String,
    /// Name of the container format.
    pub container: String,
}

impl VideoIndex {
    /// Scans all packets; what their stamps tell is still to be weighed against the header ([`Self::settle`]).
    pub(super) fn scan(
        opened: &mut Opened,
        path: &Path,
        watch: &mut Watch,
    ) -> Result<(Self, Stamps), DataError> {
        let mut index = Self::describe(opened, path)?;
        watch.limits().check_pixels(path, u64::from(index.width), u64::from(index.height))?;
        let mut stamps = Stamps::new(&index.codec, &index.container);
        let (mut packets, mut last_is_corrupt, mut corrupt) = (0_usize, false, false);
        while let Some(packet) = opened.next_packet(path, watch)? {
            let bits = ffi::packet_flags(&packet);
            if bits & flags::AV_PKT_FLAG_DISCARD != 0 {
                continue;
            }
            corrupt |= last_is_corrupt;
            last_is_corrupt = bits & flags::AV_PKT_FLAG_CORRUPT != 0;
            if last_is_corrupt {
                continue;
            }
            packets += 1;
            let (pts, dts, is_key) = (packet.pts(), packet.dts(), packet.is_key());
            stamps.push(&Stamp { pts, dts, duration: packet.duration(), is_key });
            let Some(pts) = pts else { continue };
            index.pts.push(pts);
            if is_key {
                index.keys.push(pts);
            }
        }
        // Of a damaged packet before the last one nobody knows whether a frame will come.
        index.timed = packets > 0 && index.pts.len() == packets && !stamps.restarted && !corrupt;
        index.finish();
        Ok((index, stamps))
    }

    fn finish(&mut self) {
        self.pts.sort_unstable();
        self.keys.sort_unstable();
        self.timed &= self.pts.windows(2).all(|pair| pair[0] < pair[1]);
        self.seekable &= self.timed;
        self.frames = self.pts.len();
    }

    /// Weighs what the header says of rate and duration against the stamps, once the number of frames is known.
    pub(super) fn settle(&mut self, opened: &Opened, stamps: Stamps) {
        let Some(stream) = opened.input.stream(opened.stream) else { return };
        let guess = rate(stream.rate()).unwrap_or(0.0);
        let seconds = |ticks: f64| ticks * f64::from(stream.time_base());
        let restarted = stamps.restarted;
        let length = stamps.ticks().map(seconds).filter(|length| length.is_normal());
        let Some(length) = length else { return self.settle_unmeasured(guess, restarted) };
        let measured = self.frames as f64 / length;
        if !is_near(self.fps, measured, RATE_LIE) {
            self.fps = if is_near(guess, measured, GUESS_LIE) { guess } else { measured };
        }
        if !self.duration_s.is_some_and(|said| is_near(said, length, DURATION_LIE)) {
            self.duration_s = Some(length);
        }
    }

    /// The header alone, unless it tells the resolution of the clock; one frame alone lasts a second, as in a folder.
    fn settle_unmeasured(&mut self, guess: f64, restarted: bool) {
        // The duration of a file whose stamps start again is that of one part.
        let is_sound = |said: &f64| !restarted && self.frames as f64 / said < CLOCK_RATE;
        self.duration_s = self.duration_s.filter(is_sound);
        let known = [self.fps, guess].into_iter().find(|&fps| fps > 0.0 && fps < CLOCK_RATE);
        let alone = self.frames == 1 && self.duration_s.is_none();
        self.fps = known.unwrap_or(if alone { 1.0 } else { 0.0 });
    }

    fn describe(opened: &Opened, path: &Path) -> Result<Self, DataError> {
        let stream = opened.input.stream(opened.stream).expect("the stream was found on opening");
        let decoder = opened.decoder(path)?;
        let container = opened.input.format().name().to_owned();
        Ok(Self {
            pts: Vec::new(),
            keys: Vec::new(),
            timed: false,
            seekable: can_seek(&container),
            frames: 0,
            fps: rate(stream.avg_frame_rate()).unwrap_or(0.0),
            duration_s: duration_s(opened),
            width: decoder.width(),
            height: decoder.height(),
            codec: decoder.id().name().to_owned(),
            container,
        })
    }

    /// Number of the last key frame at or before frame `at`, both counted in the order of showing.
    pub(super) fn key_before(&self, at: usize) -> usize {
        let key = self.keys.partition_point(|&key| key <= self.pts[at]);
        match key.checked_sub(1) {
            Some(key) => self.pts.partition_point(|&pts| pts < self.keys[key]),
            None => 0,
        }
    }
}

/// Duration of the stream, else of the container; both may be unknown.
fn duration_s(opened: &Opened) -> Option<f64> {
    let stream = opened.input.stream(opened.stream)?;
    let start = Some(stream.start_time()).filter(|&start| start != flags::AV_NOPTS_VALUE);
    let own = Some(stream.duration()).filter(|&ticks| ticks != flags::AV_NOPTS_VALUE);
    let own = own.map(|ticks| {
        ticks.saturating_sub(start.unwrap_or(0)) as f64 * f64::from(stream.time_base())
    });
    let whole = opened.input.duration() as f64 / f64::from(flags::AV_TIME_BASE);
    [own, Some(whole)].into_iter().flatten().find(|seconds| seconds.is_finite() && *seconds > 0.0)
}

/// Containers in which a seek by time stamp lands exactly; transport and program streams guess.
fn can_seek(container: &str) -> bool {
    container.split(',').any(|name| matches!(name, "mov" | "mp4" | "matroska" | "webm"))
}

fn rate(rational: Rational) -> Option<f64> {
    let rate = f64::from(rational);
    (rate.is_finite() && rate > 0.0).then_some(rate)
}
