//! The only unsafe lines of the crate: what `FFmpeg` offers and its safe binding does not, the registers of newer CPUs, the allocator.
#![expect(
    unsafe_code,
    clippy::inline_always,
    reason = "calls without a safe binding; each has its reason beside it"
)]

/// Numbers that one vector register of AVX2 holds.
pub(crate) const LANES: usize = 8;

/// Eight running sums of bytes times weights, modulo 2^32.
pub(crate) trait Sums: Copy {
    /// All sums at one number.
    fn start(at: i32) -> Self;
    /// Adds each byte times `weight`.
    fn add(self, bytes: [u8; LANES], weight: i32) -> Self;
    /// The sums without their lowest `BITS` bits, limited to bytes.
    fn clip<const BITS: i32>(self) -> [u8; LANES];
}

/// Something that is worth doing with the registers of this CPU.
pub(crate) trait Work {
    /// Does it with sums of type `S`; `inline(always)`, as everything that it calls.
    fn run<S: Sums>(self);
}

/// Runs `work` with AVX2 where this CPU has it; the results are the same.
pub(crate) fn fastest(work: impl Work) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has just been asked for AVX2.
        return unsafe { x86::with_avx2(work) };
    }
    work.run::<PlainSums>();
}

/// Sums for every CPU.
#[derive(Clone, Copy)]
pub(crate) struct PlainSums([i32; LANES]);

impl Sums for PlainSums {
    #[inline(always)]
    fn start(at: i32) -> Self {
        Self([at; LANES])
    }

    #[inline(always)]
    fn add(mut self, bytes: [u8; LANES], weight: i32) -> Self {
        for (sum, byte) in self.0.iter_mut().zip(bytes) {
            *sum = sum.wrapping_add(i32::from(byte).wrapping_mul(weight));
        }
        self
    }

    #[inline(always)]
    fn clip<const BITS: i32>(self) -> [u8; LANES] {
        self.0.map(|sum| (sum >> BITS).clamp(0, 255) as u8)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_packs_epi32, _mm_packus_epi16,
        _mm256_add_epi32, _mm256_castsi256_si128, _mm256_cvtepu8_epi32, _mm256_extracti128_si256,
        _mm256_mullo_epi32, _mm256_set1_epi32, _mm256_srai_epi32,
    };

    use super::{LANES, Sums, Work};

    #[target_feature(enable = "avx2")]
    pub(super) fn with_avx2(work: impl Work) {
        work.run::<Avx2Sums>();
    }

    /// Sums in one register; only made by work that [`with_avx2`] runs.
    #[derive(Clone, Copy)]
    struct Avx2Sums(__m256i);

    impl Sums for Avx2Sums {
        #[inline(always)]
        fn start(at: i32) -> Self {
            // SAFETY: work that is given this type runs on a CPU with AVX2; so below.
            unsafe { Self(_mm256_set1_epi32(at)) }
        }

        #[inline(always)]
        fn add(self, bytes: [u8; LANES], weight: i32) -> Self {
            // SAFETY: as above; the bytes are passed by value, no pointer is read.
            unsafe {
                let wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(bytes)));
                let product = _mm256_mullo_epi32(wide, _mm256_set1_epi32(weight));
                Self(_mm256_add_epi32(self.0, product))
            }
        }

        #[inline(always)]
        fn clip<const BITS: i32>(self) -> [u8; LANES] {
            // SAFETY: as above. Both packings limit to their range, so first to 16 bits with sign, then to bytes.
            unsafe {
                let sums = _mm256_srai_epi32::<BITS>(self.0);
                let low = _mm256_castsi256_si128(sums);
                let words = _mm_packs_epi32(low, _mm256_extracti128_si256::<1>(sums));
                _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes()
            }
        }
    }
}

/// Gives memory that this process has freed back to the system, where its allocator keeps it (glibc).
///
/// Encoders free blocks of many sizes, which would stay with the process although nothing is in them.
pub fn give_back_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: it takes no pointer and touches free blocks alone, under the allocator's own locks (malloc_trim(3)).
        unsafe { malloc_trim(0) };
    }
}

/// Keeps large blocks that are freed for the next that is asked for, where the allocator would hand each back to the system (glibc).
///
/// A training step frees and asks for the same blocks again and again; pages that are new to a process are zeroed and
/// mapped one by one, which took a tenth of the processor time of a small step. [`give_back_freed_memory`] still gives them back.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of malloc.h.
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_THRESHOLD: i32 = -3;
        /// Larger blocks are mapped alone as before: holes of their size in the heap would cost more than their pages.
        const LARGEST: i32 = 256 << 20;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: they take no pointer, and are set under the allocator's own lock (mallopt(3)); a refusal changes nothing.
        unsafe {
            mallopt(MMAP_THRESHOLD, LARGEST);
            mallopt(TRIM_THRESHOLD, i32::MAX);
        }
    }
}

#[cfg(feature = "video")]
pub(crate) use video::{packet_flags, probe, seek, set_colours};

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

    /// The name of the format that `FFmpeg` takes these first bytes for, among all that it knows.
    pub(crate) fn probe(start: &[u8]) -> Option<String> {
        let mut padded = start.to_vec();
        padded.resize(start.len() + ffi::AVPROBE_PADDING_SIZE as usize, 0);
        let data = ffi::AVProbeData {
            filename: c"".as_ptr(),
            buf: padded.as_mut_ptr(),
            buf_size: i32::try_from(start.len()).ok()?,
            mime_type: std::ptr::null(),
        };
        let mut score = 0;
        // SAFETY: the buffer outlives the call and is padded as it asks; formats and their names are static.
        unsafe {
            let format = ffi::av_probe_input_format3(&raw const data, 1, &raw mut score);
            if format.is_null() || score <= ffi::AVPROBE_SCORE_MAX / 4 {
                return None;
            }
            let name = std::ffi::CStr::from_ptr((*format).name);
            Some(name.to_string_lossy().into_owned())
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
