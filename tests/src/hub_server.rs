//! A hub of models and data sets on 127.0.0.1, as much of one as is asked: lists of files, files, ranges, tokens, and what can go wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use xcomp_train::machine::files::sha256;

/// The commit that every repository is at.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Debug, Default)]
pub struct Faults {
    /// The first answer with a large file ends after so many bytes.
    pub cut_once: Option<usize>,
    /// Every answer with a large file ends before its first byte.
    pub cut_always: bool,
    /// Ranges are not known: every answer is the whole file.
    pub without_ranges: bool,
    /// One byte of every large file is another than the list says.
    pub damaged: bool,
    /// Nothing is shown without this token.
    pub token: Option<String>,
}

/// A request for a large file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The first byte asked for; none for a request without a range.
    pub from: Option<usize>,
}

/// A hub that answers until it is dropped.
#[derive(Debug)]
pub struct HubServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shelf {
    /// Files by `models/owner/name` or `datasets/owner/name`, then by path.
    repositories: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    faults: Faults,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl HubServer {
    /// A hub with repositories, each `models/owner/name` or `datasets/owner/name` and a folder with its files.
    ///
    /// # Panics
    /// If a folder cannot be read, or no port is free.
    pub fn start(repositories: &[(&str, &Path)], faults: Faults) -> Self {
        let files = |(name, folder): &(&str, &Path)| {
            let mut files = BTreeMap::new();
            collect(folder, "", &mut files);
            ((*name).to_owned(), files)
        };
        let repositories = repositories.iter().map(files).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (seen, closed) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut shelf = Shelf { repositories, faults, seen: Arc::clone(&seen) };
        let ended = Arc::clone(&closed);
        let serve = move || {
            for mut stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A client that goes away is no fault of the hub.
                shelf.answer(&mut stream).unwrap_or_default();
            }
        };
        Self { address, seen, closed, thread: Some(std::thread::spawn(serve)) }
    }

    /// What `HF_ENDPOINT` is to be.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests for large files so far.
    ///
    /// # Panics
    /// If the server panicked.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("a whole list").clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().map(JoinHandle::join);
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("a folder of files") {
        let path = entry.expect("an entry").path();
        let name = format!("{prefix}{}", path.file_name().expect("a name").to_string_lossy());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read(&path).expect("a file"));
        }
    }
}

/// Large files are kept apart, as the hub does with weights.
fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors")
}

fn listed(path: &str, bytes: &[u8]) -> Value {
    if is_large(path) {
        let lfs = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134});
        return json!({"rfilename": path, "size": bytes.len(), "blobId": "0", "lfs": lfs});
    }
    let hash = Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes);
    let mut hex = String::new();
    for byte in hash.finalize() {
        write!(hex, "{byte:02x}").expect("a string takes any text");
    }
    json!({"rfilename": path, "size": bytes.len(), "blobId": hex})
}

/// A request as far as it matters: its path, the token, and the first byte asked for.
struct Request {
    path: String,
    token: Option<String>,
    from: Option<usize>,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut headers = BTreeMap::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let from = |range: &String| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok();
        Ok(Self {
            path: first.split(' ').nth(1).unwrap_or_default().to_owned(),
            from: headers.get("range").and_then(from),
            token: headers.remove("authorization"),
        })
    }

    /// The repository and the file that it asks for, and whether where large files lie.
    fn file(&self) -> Option<(String, &str, bool)> {
        if let Some(place) = self.path.strip_prefix("/elsewhere/") {
            let (repository, file) = place.split_once("/-/")?;
            return Some((repository.to_owned(), file, true));
        }
        let path = self.path.strip_prefix('/')?;
        let (repository, file) = path.split_once(&format!("/resolve/{COMMIT}/"))?;
        let kind = if repository.starts_with("datasets/") { "" } else { "models/" };
        Some((format!("{kind}{repository}"), file, false))
    }
}

impl Shelf {
    fn answer(&mut self, stream: &mut TcpStream) -> std::io::Result<()> {
        let request = Request::read(stream)?;
        let token = self.faults.token.as_ref().map(|token| format!("Bearer {token}"));
        if token.is_some() && token != request.token {
            return send(stream, "401 Unauthorized", "", b"{}", None);
        }
        if let Some(place) = request.path.strip_prefix("/api/") {
            return self.list(stream, place);
        }
        let found = request.file().and_then(|(repository, file, elsewhere)| {
            let bytes = self.repositories.get(&repository)?.get(file)?.clone();
            Some((repository, file, elsewhere, bytes))
        });
        let Some((repository, file, elsewhere, bytes)) = found else {
            return send(stream, "404 Not Found", "", b"Entry not found", None);
        };
        if is_large(file) && !elsewhere {
            let location = format!("Location: /elsewhere/{repository}/-/{file}\r\n");
            return send(stream, "302 Found", &location, b"", None);
        }
        self.send_file(stream, bytes, request.from, elsewhere)
    }

    fn list(&self, stream: &mut TcpStream, place: &str) -> std::io::Result<()> {
        let repository = place.split("/revision/").next().unwrap_or_default();
        let Some(files) = self.repositories.get(repository) else {
            return send(stream, "404 Not Found", "", b"Repository not found", None);
        };
        let siblings: Vec<Value> = files.iter().map(|(path, bytes)| listed(path, bytes)).collect();
        let text = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        send(stream, "200 OK", "", text.as_bytes(), None)
    }

    fn send_file(
        &mut self,
        stream: &mut TcpStream,
        mut bytes: Vec<u8>,
        from: Option<usize>,
        large: bool,
    ) -> std::io::Result<()> {
        let mut cut = None;
        if large {
            self.seen.lock().expect("a whole list").push(Seen { from });
            cut = self.faults.cut_once.take().or(self.faults.cut_always.then_some(0));
            if self.faults.damaged {
                *bytes.last_mut().expect("a file with bytes") ^= 1;
            }
        }
        match from.filter(|_| !self.faults.without_ranges) {
            None => send(stream, "200 OK", "", &bytes, cut),
            Some(from) => {
                let range =
                    format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                send(stream, "206 Partial Content", &range, &bytes[from..], cut)
            }
        }
    }
}

/// An answer, whose body may end too early.
fn send(
    stream: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
    cut: Option<usize>,
) -> std::io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(&body[..cut.unwrap_or(length).min(length)])
}
