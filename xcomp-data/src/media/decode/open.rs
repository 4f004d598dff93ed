//! Opening a container so that it can neither hang nor lead elsewhere.

use std::path::Path;
use std::sync::Once;

use ffmpeg_next::format::context::Input;
use ffmpeg_next::format::stream::Disposition;
use ffmpeg_next::{Dictionary, Error, Packet, Stream, codec, format, log, media};

use crate::media::{kind, limits::Watch};
use crate::{DataError, ffi};

/// Containers that hold their own data; playlists and device inputs are left out.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,h264,hevc,av1,obu,ivf,flv,live_flv,gif,apng,ogg,asf,asf_o,rm,mjpeg,m4v,mxf,nut,wtv,vc1,yuv4mpegpipe,dv,h263,h261,cavsvideo,evc,vvc,webp_pipe,image2,png_pipe,jpeg_pipe,bmp_pipe";

/// [`FORMATS`] in the words of a message.
const READ: &str =
    "MP4, MOV, MKV, WebM, AVI, MPEG, TS, FLV, OGV, WMV, GIF and the like, and folders of frames";

/// Formats of `FFmpeg` that hold sound alone.
const SOUND: [&str; 16] = [
    "aac", "ac3", "aiff", "amr", "ape", "au", "caf", "dts", "eac3", "flac", "mp3", "mpc", "tta",
    "w64", "wav", "wv",
];

/// Read errors in a row after which a file counts as ended.
const MAX_READ_ERRORS: usize = 64;

/// Loads `FFmpeg` once and keeps it from writing to the terminal.
pub(crate) fn quiet() {
    static START: Once = Once::new();
    START.call_once(|| {
        // Registering cannot fail since FFmpeg 4; the files themselves tell when something is amiss.
        let _ = ffmpeg_next::init();
        log::set_level(log::Level::Quiet);
    });
}

/// A container and its video stream.
pub(super) struct Opened {
    pub(super) input: Input,
    pub(super) stream: usize,
}

impl Opened {
    pub(super) fn new(path: &Path, watch: &Watch) -> Result<Self, DataError> {
        quiet();
        let input = open_input(path, watch)?;
        let stream = film(&input).ok_or_else(|| no_video(path))?;
        Ok(Self { input, stream })
    }

    /// A decoder of one thread: videos are decoded side by side, not one by many.
    pub(super) fn decoder(&self, path: &Path) -> Result<codec::decoder::Video, DataError> {
        let wrong = |error: Error| failed(path, error);
        let stream = self.input.stream(self.stream).expect("the stream was found on opening");
        let mut context = codec::Context::from_parameters(stream.parameters()).map_err(wrong)?;
        context.set_threading(codec::threading::Config::count(1));
        context.decoder().video().map_err(wrong)
    }

    /// The next packet of the video stream; `None` at the end of the file.
    pub(super) fn next_packet(
        &mut self,
        path: &Path,
        watch: &mut Watch,
    ) -> Result<Option<Packet>, DataError> {
        let mut errors = 0;
        loop {
            watch.tick(path)?;
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() == self.stream => return Ok(Some(packet)),
                Ok(()) => errors = 0,
                Err(Error::Eof) => return Ok(None),
                Err(_) => {
                    errors += 1;
                    if errors == MAX_READ_ERRORS {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

/// The video stream that `FFmpeg` holds for the best one; attached pictures (covers, thumbnails) are none.
fn film(input: &Input) -> Option<usize> {
    let is_film = |stream: &Stream<'_>| {
        stream.parameters().medium() == media::Type::Video
            && !stream.disposition().contains(Disposition::ATTACHED_PIC)
    };
    let best = input.streams().best(media::Type::Video).filter(is_film);
    let is_default = |stream: &Stream<'_>| stream.disposition().contains(Disposition::DEFAULT);
    let first = || input.streams().filter(is_film).min_by_key(|stream| !is_default(stream));
    best.or_else(first).map(|stream| stream.index())
}

fn no_video(path: &Path) -> DataError {
    DataError::NoVideoStream { path: path.to_owned() }
}

/// The `file:` prefix keeps a file name from being taken for another protocol.
fn open_input(path: &Path, watch: &Watch) -> Result<Input, DataError> {
    crate::open::open_regular(path)?;
    let text = path.to_str().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| DataError::Unsupported {
        path: path.to_owned(),
        message: "a media path must be UTF-8 without NUL".into(),
    })?;
    let mut options = Dictionary::new();
    options.set("format_whitelist", FORMATS);
    options.set("protocol_whitelist", "file");
    let over = watch.clone();
    let url = format!("file:{text}");
    format::input_with_interrupt_and_dictionary(&url, move || over.is_over(), options)
        .map_err(|error| watch.check(path).err().unwrap_or_else(|| refused(path, error)))
}

/// Why a file does not open: by its kind, where that is told and is the reason, else in the words of `FFmpeg`.
fn refused(path: &Path, error: Error) -> DataError {
    let Ok(start) = kind::start_of(path) else { return failed(path, error) };
    if let Some(name) = kind::name_of_other(&start) {
        return kind::not_read(path, name, READ);
    }
    if start.starts_with(b"ID3") {
        return no_video(path); // a song, whose cover may be longer than what was read
    }
    match ffi::probe(&start) {
        Some(format) if SOUND.contains(&format.as_str()) => no_video(path),
        Some(format)
            if !format.split(',').any(|name| FORMATS.split(',').any(|read| read == name)) =>
        {
            kind::not_read(path, &format.trim_end_matches("_pipe").to_uppercase(), READ)
        }
        _ => failed(path, error),
    }
}

pub(super) fn failed(path: &Path, error: Error) -> DataError {
    DataError::Decode { path: path.to_owned(), message: error.to_string() }
}
