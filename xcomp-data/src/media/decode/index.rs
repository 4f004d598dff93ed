//! Where the frames of a file are: time stamps and key frames, from its packets alone.

use std::path::Path;

use ffmpeg_next::{Rational, ffi as flags};
use serde::{Deserialize, Serialize};

use super::open::Opened;
use crate::media::limits::Watch;
use crate::{DataError, ffi};

/// What a scan of all packets tells about a video.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct VideoIndex {
    /// Time stamps of the frames in the order of showing, in units of the time base; one per frame.
    pub pts: Vec<i64>,
    /// Time stamps of the key frames, ascending.
    pub keys: Vec<i64>,
    /// Whether all frames have time stamps of their own.
    pub timed: bool,
    /// Whether jumping to a time stamp is exact in this container.
    pub seekable: bool,
    /// Frames; for files without time stamps the frames that decode.
    pub frames: usize,
    /// Average frames per second, as the container says.
    pub fps: f64,
    /// Duration by the container, in seconds, where it says one.
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
    /// Scans all packets.
    pub(super) fn scan(
        opened: &mut Opened,
        path: &Path,
        watch: &mut Watch,
    ) -> Result<Self, DataError> {
        let mut index = Self::describe(opened, path)?;
        watch.limits().check_pixels(path, u64::from(index.width), u64::from(index.height))?;
        let mut packets = 0_usize;
        while let Some(packet) = opened.next_packet(path, watch)? {
            let bits = ffi::packet_flags(&packet);
            if bits & (flags::AV_PKT_FLAG_DISCARD | flags::AV_PKT_FLAG_CORRUPT) != 0 {
                continue;
            }
            packets += 1;
            let Some(pts) = packet.pts() else { continue };
            index.pts.push(pts);
            if packet.is_key() {
                index.keys.push(pts);
            }
        }
        index.timed = packets > 0 && index.pts.len() == packets;
        index.finish();
        Ok(index)
    }

    fn finish(&mut self) {
        self.pts.sort_unstable();
        self.keys.sort_unstable();
        self.timed &= self.pts.windows(2).all(|pair| pair[0] < pair[1]);
        self.seekable &= self.timed;
        self.frames = self.pts.len();
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
            fps: rate(stream.avg_frame_rate()).or_else(|| rate(stream.rate())).unwrap_or(0.0),
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
