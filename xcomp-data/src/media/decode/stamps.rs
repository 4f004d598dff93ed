//! What the time stamps of the packets tell: whether they start again, how long the film lasts.

/// Most frames by which a codec changes the order (the largest picture buffer of H.264 and HEVC).
const MAX_REORDER: usize = 16;

/// Steps between stamps for each packet without a stamp, or the stamps tell nothing of the length.
const MIN_STAMPED: usize = 10;

/// Codecs that show frames in the order of decoding, so that no stamp may go back.
const IN_ORDER: [&str; 14] = [
    "vp8", "vp9", "av1", "mjpeg", "theora", "gif", "png", "apng", "ffv1", "h263", "flv1",
    "huffyuv", "rawvideo", "dvvideo",
];

/// One packet of the video stream.
pub(super) struct Stamp {
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
    pub(super) duration: i64,
    pub(super) is_key: bool,
}

/// Follows the stamps in decoding order.
pub(super) struct Stamps {
    in_order: bool,
    /// Whether decoding times are the file's own, not made up by `FFmpeg`.
    has_dts: bool,
    /// Time stamps of the latest packets, the newest last.
    latest: Vec<i64>,
    /// The running part, since the stamps last started again.
    part: Option<Part>,
    /// Of the parts before: their number, ticks and steps, and how long the last frame says it lasts.
    parts: usize,
    ticks: f64,
    steps: usize,
    tail: i64,
    /// How long all frames say they last.
    said: f64,
    /// Packets without a stamp.
    unstamped: usize,
    /// Whether the stamps started again.
    pub(super) restarted: bool,
}

/// A part whose stamps go on.
struct Part {
    first: i64,
    last: i64,
    /// Duration that the packet of the last stamp says.
    duration: i64,
    dts: i64,
    packets: usize,
}

impl Stamps {
    pub(super) fn new(codec: &str, container: &str) -> Self {
        let has_dts = container.split(',').any(|name| matches!(name, "mpegts" | "mpeg" | "flv"));
        Self {
            in_order: IN_ORDER.contains(&codec),
            has_dts,
            latest: Vec::with_capacity(MAX_REORDER + 1),
            part: None,
            parts: 0,
            ticks: 0.0,
            steps: 0,
            tail: 0,
            said: 0.0,
            unstamped: 0,
            restarted: false,
        }
    }

    /// Takes the next packet in decoding order.
    pub(super) fn push(&mut self, stamp: &Stamp) {
        let &Stamp { pts, dts, duration, is_key } = stamp;
        let Some(pts) = pts else {
            self.unstamped += 1;
            return;
        };
        if self.starts_again(pts, is_key) {
            self.restarted = true;
            self.finish_part();
        }
        let dts = dts.unwrap_or(i64::MIN);
        let part =
            self.part.get_or_insert(Part { first: pts, last: pts, duration, dts, packets: 0 });
        self.said += duration as f64;
        part.packets += 1;
        part.first = part.first.min(pts);
        part.dts = part.dts.max(dts);
        if pts >= part.last {
            (part.last, part.duration) = (pts, duration);
        }
        if self.latest.len() > MAX_REORDER {
            self.latest.remove(0);
        }
        self.latest.push(pts);
    }

    /// Whether a stamp goes back further than the reordering of frames can explain.
    fn starts_again(&self, pts: i64, is_key: bool) -> bool {
        let Some(part) = &self.part else { return false };
        // All that is decoded before a key frame is shown before it; nothing is shown before it is decoded.
        let before_key = (self.in_order || is_key) && pts < part.last;
        let before_decoding = self.has_dts && pts < part.dts;
        let too_far =
            self.latest.len() > MAX_REORDER && self.latest.iter().all(|&other| pts < other);
        before_key || before_decoding || too_far
    }

    fn finish_part(&mut self) {
        self.latest.clear();
        if let Some(part) = self.part.take() {
            self.parts += 1;
            self.ticks += part.last.saturating_sub(part.first) as f64;
            self.steps += part.packets - 1;
            self.tail = part.duration;
        }
    }

    /// Length of all parts in ticks; `None` where there are no two stamps to tell.
    ///
    /// The last frame of a part lasts as long as frames do on average; the last of the file may say that it lasts longer, where the
    /// frames before it say how long they last, and it is true.
    pub(super) fn ticks(mut self) -> Option<f64> {
        self.finish_part();
        let step = self.ticks / self.steps as f64;
        let joints = self.parts.saturating_sub(1) as f64 * step;
        let tail = self.tail as f64;
        let is_true = is_near(self.said - tail, self.ticks + joints, 1.1);
        let is_known = MIN_STAMPED * self.unstamped <= self.steps && self.ticks > 0.0;
        is_known.then(|| self.ticks + joints + if is_true { step.max(tail) } else { step })
    }
}

/// Whether two numbers differ by less than a factor.
pub(super) fn is_near(a: f64, b: f64, factor: f64) -> bool {
    a < b * factor && b < a * factor
}
