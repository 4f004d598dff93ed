//! The only unsafe lines of the crate: what `FFmpeg` offers and its safe binding does not, and the choice of a CPU's features.
#![expect(
    unsafe_code,
    reason = "FFmpeg calls without a safe binding; each has its reason beside it"
)]

/// Something that is worth compiling for a newer CPU.
pub(crate) trait Work {
    /// Does it; `inline(always)`, as everything that it calls, else it is compiled for the oldest CPU only.
    fn run(self);
}

/// Runs `work`, compiled for AVX2 where this CPU has it.
pub(crate) fn fastest(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has just been asked for AVX2.
        return unsafe { with_avx2(work) };
    }
    work.run();
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(work: impl Work) {
    work.run();
}

#[cfg(feature = "video")]
pub(crate) use video::{packet_flags, seek, set_colours};

#[cfg(feature = "video")]
mod video {
    use ffmpeg_next::ffi;
    use ffmpeg_next::software::scaling;
    use ffmpeg_next::{Packet, frame};

    /// Neutral brightness, contrast and saturation of swscale.
    const NEUTRAL: (i32, i32, i32) = (0, 1 << 16, 1 << 16);

    /// Tells the converter the frame's matrix and range, as `FFmpeg`'s own scale filter does (`vf_scale.c`).
    ///
    /// The safe binding leaves every conversion at BT.601.
    pub(crate) fn set_colours(scaler: &mut scaling::Context, frame: &frame::Video) {
        let (mut source, mut target) = (std::ptr::null_mut(), std::ptr::null_mut());
        let (mut source_range, mut target_range) = (0, 0);
        let (mut brightness, mut contrast, mut saturation) = NEUTRAL;
        // SAFETY: `scaler` holds a live context for the length of the borrow; the out-pointers are local; the
        // coefficient tables that are handed over are static arrays of swscale, copied by the call.
        unsafe {
            let context = scaler.as_mut_ptr();
            let known = ffi::sws_getColorspaceDetails(
                context,
                &raw mut source,
                &raw mut source_range,
                &raw mut target,
                &raw mut target_range,
                &raw mut brightness,
                &raw mut contrast,
                &raw mut saturation,
            );
            if known < 0 {
                return; // a format without a matrix, as RGB
            }
            let space: ffi::AVColorSpace = frame.color_space().into();
            match frame.color_range() {
                ffmpeg_next::color::Range::JPEG => source_range = 1,
                ffmpeg_next::color::Range::MPEG => source_range = 0,
                ffmpeg_next::color::Range::Unspecified => {}
            }
            let matrix = ffi::sws_getCoefficients(space as i32);
            ffi::sws_setColorspaceDetails(
                context,
                matrix,
                source_range,
                target,
                target_range,
                brightness,
                contrast,
                saturation,
            );
        }
    }

    /// All flags of a packet; the safe binding drops the one that edit lists set.
    pub(crate) fn packet_flags(packet: &Packet) -> i32 {
        use ffmpeg_next::packet::Ref;
        // SAFETY: the packet is live for the length of the borrow.
        unsafe { (*packet.as_ptr()).flags }
    }

    /// Seeks one stream backward to the key frame of a time stamp in the stream's own time base.
    ///
    /// The safe binding seeks in microseconds, which misses the exact key frame.
    pub(crate) fn seek(
        input: &mut ffmpeg_next::format::context::Input,
        stream: usize,
        timestamp: i64,
    ) -> bool {
        // SAFETY: `input` is an open context; the call checks the stream index itself.
        unsafe {
            let flags = ffi::AVSEEK_FLAG_BACKWARD;
            ffi::av_seek_frame(input.as_mut_ptr(), stream as i32, timestamp, flags) >= 0
        }
    }
}
