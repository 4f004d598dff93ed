//! A device tried in a process of its own: a driver that crashes or hangs must not take a run with it.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::connect::{connect, require_built};
use super::{About, Choice};
use crate::error::Error;

/// The hidden verb by which the program tries a device and says on stdout what it is.
pub const PROBE_VERB: &str = "probe-device";

/// How long a device may take to add two numbers: a driver that is just loaded builds its first kernels in seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a device is, once it has added two numbers in another process; the processor is not asked.
///
/// # Errors
/// If the backend is not in this build, or the device gives no or a wrong sum, crashes, or takes longer than a minute.
pub fn probe(choice: Choice) -> Result<About, Error> {
    if choice == Choice::Cpu {
        return Ok(connect(choice)?.about);
    }
    require_built(choice)?;
    let program = std::env::current_exe().map_err(|error| refused(choice, &error.to_string()))?;
    let mut command = Command::new(program);
    command.args([PROBE_VERB, &choice.to_string()]);
    ask(choice, command, PATIENCE)
}

/// The other side of [`probe`]: what the device is, as the line that it reads.
///
/// # Errors
/// As [`connect`].
pub fn answer_probe(choice: Choice) -> Result<String, Error> {
    let about = connect(choice)?.about;
    Ok(serde_json::to_string(&about).expect("names and numbers"))
}

/// What a process says of a device within its time.
fn ask(choice: Choice, mut command: Command, patience: Duration) -> Result<About, Error> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let refused = |why: &str| refused(choice, why);
    let mut child = command.spawn().map_err(|error| refused(&error.to_string()))?;
    // Read beside the wait: a driver that talks more than a pipe holds would wait for its reader.
    let said = reader(child.stdout.take());
    let complained = reader(child.stderr.take());
    let ended = ended_within(&mut child, patience).map_err(|error| refused(&error.to_string()))?;
    let Some(status) = ended else {
        return Err(refused(&format!("its driver did not add two numbers within {patience:?}")));
    };
    let (said, complained) = (text(said), text(complained));
    if status.success() {
        return serde_json::from_str(&said)
            .map_err(|error| refused(&format!("its probe said `{}`: {error}", said.trim())));
    }
    Err(refused(&reason(status, &complained)))
}

/// Why a probe failed, from how it ended and what it wrote last.
fn reason(status: ExitStatus, complained: &str) -> String {
    let last = complained.lines().rev().find(|line| !line.trim().is_empty());
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("its driver ended the process that tried it with signal {signal}");
    }
    last.map_or_else(|| status.to_string(), |line| line.trim_start_matches("error: ").to_owned())
}

/// How a process ended; `None`, and it is killed, where its time is over.
fn ended_within(child: &mut Child, patience: Duration) -> std::io::Result<Option<ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

type Reader = Option<std::thread::JoinHandle<String>>;

fn reader(pipe: Option<impl Read + Send + 'static>) -> Reader {
    pipe.map(|mut pipe| {
        std::thread::spawn(move || {
            let mut bytes = vec![];
            pipe.read_to_end(&mut bytes).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    })
}

fn text(reader: Reader) -> String {
    reader.and_then(|thread| thread.join().ok()).unwrap_or_default()
}

fn refused(choice: Choice, why: &str) -> Error {
    let choice = choice.to_string();
    // What was refused in the other process names its device already.
    if why.starts_with(&choice) {
        return Error::Argument(why.to_owned());
    }
    Error::Argument(format!("{choice} does not answer: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::device::Adapter;

    /// What a script in the place of the probe comes to.
    fn script(script: &str, seconds: f64) -> Result<About, String> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let card = Choice::Vulkan(Adapter::Card(None));
        ask(card, command, Duration::from_secs_f64(seconds)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_driver_that_crashes_hangs_or_refuses_ends_its_own_process_alone() {
        let check = |text: &str, seconds, wanted: &str| {
            assert_eq!(script(text, seconds).unwrap_err(), format!("vulkan {wanted}"));
        };
        check(
            "kill -SEGV $$",
            20.0,
            "does not answer: its driver ended the process that tried it with signal 11",
        );
        check(
            "exec sleep 100",
            0.3,
            "does not answer: its driver did not add two numbers within 300ms",
        );
        check(
            "echo noise >&2; echo 'error: vulkan does not answer; is its driver there?' >&2; exit 2",
            20.0,
            "does not answer; is its driver there?",
        );
        check("exit 3", 20.0, "does not answer: exit status: 3");
        assert!(script("echo nonsense", 20.0).unwrap_err().contains("its probe said `nonsense`"));
    }

    #[test]
    fn a_device_that_answers_is_known_by_its_own_words() {
        let said = "{\"name\": \"card\", \"memory_bytes\": 4}";
        // More than a pipe holds, on the side that nobody waits for.
        let about = script(&format!("yes | head -c 300000 >&2; echo '{said}'"), 60.0).unwrap();
        assert_eq!((about.name.as_deref(), about.memory_bytes), (Some("card"), Some(4)));
    }
}
