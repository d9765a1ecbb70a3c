//! The local BigQuery as a child process: started on free ports, waited for, and gone when its handle is.
//!
//! It knows nothing of gateways, and of the server no more than its flags and one address that answers. That the server
//! leaves when this process is killed is the launcher's doing.

use crate::Stop;
use crate::error::Error;
use crate::python::{Python, without_pythons_own};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpSocket;

/// How long a start may take in all: two seconds are usual, but a first start compiles and a busy machine waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server with data to keep may take to end before it is killed.
const ENDING: Duration = Duration::from_secs(5);

/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

/// How often another pair of ports is tried when somebody else took one.
const TRIES: u32 = 5;

/// How the name of a temporary directory begins, and the name of the file in it that is locked while it is in use.
const PREFIX: &str = "bq-local-";
const MARK: &str = "in-use";

/// What the server says, in its temporary directory.
const LOG: &str = "log";

/// Lines of the server's log shown with an error.
const TAIL: usize = 20;

/// What to start.
#[derive(Clone, Debug)]
pub struct EmulatorOptions {
    /// The folder of `launcher.py`: `tests/local-bigquery` of the checkout.
    pub home: PathBuf,
    /// The project that owns what is not named in full.
    pub project: String,
    /// Where the data is and stays; none: a directory that goes with the handle.
    pub data: Option<PathBuf>,
}

/// A running local BigQuery. Dropping it ends and reaps it, and removes what was temporary; it leaves by itself when
/// this process is killed, and the next to start removes what was temporary.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    url: String,
    // Until it listens there.
    ports: Vec<Port>,
    keeps: bool,
    // Removed after the child has ended: `Drop` runs before the fields are dropped.
    scratch: TempDir,
    // Held as long as this process lives: the directory is in use.
    _lock: File,
}

/// The folder of the launcher in this checkout.
///
/// # Errors
/// When the checkout is neither where it was when this was built, nor above this program.
pub fn home() -> Result<PathBuf, Error> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("local-bigquery");
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().map(|folder| folder.join("tests/local-bigquery"));
    std::iter::once(built.clone())
        .chain(above)
        .find(|folder| folder.join("launcher.py").is_file())
        .ok_or_else(|| {
            Error::usage(
                "cannot find the launcher of the local BigQuery",
                built.display(),
                "run it from a whole checkout, built there",
            )
        })
}

impl Emulator {
    /// Starts a local BigQuery and waits until it answers.
    ///
    /// # Errors
    /// [`Kind::Emulator`](crate::error::Kind::Emulator) when it ends early, with its last words, or does not answer
    /// within a minute; [`Kind::Stopped`](crate::error::Kind::Stopped) when `stop` was asked.
    pub fn start(python: &Python, options: &EmulatorOptions, stop: &Stop) -> Result<Emulator, Error> {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let mut emulator = Emulator::spawn(python, options)?;
            match emulator.wait(options, stop, start) {
                Ok(()) => return Ok(emulator),
                Err(Early::PortTaken) if tries < TRIES => {}
                Err(Early::PortTaken) => {
                    return Err(emulator.error("found no free port"));
                }
                Err(Early::Other(error)) => return Err(error),
            }
        }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `Err` with its last words if it has ended.
    ///
    /// # Errors
    /// [`Kind::Emulator`](crate::error::Kind::Emulator).
    pub fn alive(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(error) => Err(self.error(&format!("cannot be watched: {error}"))),
        }
    }

    fn spawn(python: &Python, options: &EmulatorOptions) -> Result<Emulator, Error> {
        let launcher = options.home.join("launcher.py");
        let trouble = |error: io::Error| {
            Error::emulator(
                format!("cannot start the local BigQuery: {error}"),
                launcher.display(),
                "see that the temporary and the data directory can be written",
            )
        };
        sweep(&std::env::temp_dir());
        let scratch = tempfile::Builder::new().prefix(PREFIX).tempdir().map_err(trouble)?;
        let lock = hold(scratch.path()).map_err(trouble)?;
        let data = match &options.data {
            Some(data) => data.clone(),
            None => scratch.path().join("data"),
        };
        std::fs::create_dir_all(&data).map_err(|error| {
            Error::usage(
                format!("cannot make the data directory: {error}"),
                data.display(),
                "give `--data` a directory that can be written",
            )
        })?;
        let output = File::create(scratch.path().join(LOG)).map_err(trouble)?;
        let (port, grpc_port) = (Port::free(), Port::free());
        let (port, grpc_port) = (port.map_err(trouble)?, grpc_port.map_err(trouble)?);
        let mut command = Command::new(&python.path);
        without_pythons_own(&mut command);
        let child = command
            .env("PYTHONUNBUFFERED", "1")
            .arg(&launcher)
            .args(["--host", "127.0.0.1"])
            .args(["--port", &port.number.to_string()])
            .args(["--grpc-port", &grpc_port.number.to_string()])
            .args(["--project", &options.project])
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(trouble)?)
            .stderr(output)
            // The terminal's Ctrl-C is for the command, which may need the server to finish.
            .process_group(0)
            .spawn()
            .map_err(trouble)?;
        Ok(Emulator {
            child,
            url: format!("http://127.0.0.1:{}", port.number),
            ports: vec![port, grpc_port],
            keeps: options.data.is_some(),
            scratch,
            _lock: lock,
        })
    }

    fn wait(&mut self, options: &EmulatorOptions, stop: &Stop, start: Instant) -> Result<(), Early> {
        let address = format!("127.0.0.1:{}", self.port());
        let path = format!("/bigquery/v2/projects/{}/datasets?maxResults=1", options.project);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = self.said().to_lowercase();
                let taken = ["address already in use", "failed to bind"];
                return Err(match taken.iter().any(|words| said.contains(words)) {
                    true => Early::PortTaken,
                    false => Early::Other(self.ended(status)),
                });
            }
            if stop.asked() {
                return Err(Early::Other(Error::stopped(&self.url)));
            }
            if answers(&address, &path) {
                self.ports.clear();
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(Early::Other(self.error(&format!("did not answer within {seconds} s"))));
            }
            std::thread::sleep(POLL);
        }
    }

    fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap_or_default()
    }

    fn said(&self) -> String {
        let bytes = std::fs::read(self.scratch.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn ended(&self, status: ExitStatus) -> Error {
        self.error(&format!("ended by itself ({status})"))
    }

    fn error(&self, what: &str) -> Error {
        Error::emulator(
            format!("the local BigQuery {what}"),
            format!("{} (tests/local-bigquery/launcher.py)", self.url),
            "read the lines above, the last of its log; if it has an old `--data` directory, try without",
        )
        .with_tail(&self.said(), TAIL)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if self.keeps {
            // Data to keep is to be written out; a connection that hangs must not hold that up for ever.
            if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::TERM);
            }
            let start = Instant::now();
            while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < ENDING {
                std::thread::sleep(POLL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

enum Early {
    PortTaken,
    Other(Error),
}

/// Marks a temporary directory as in use. The mark is locked before it gets the name that [`sweep`] looks for.
fn hold(directory: &Path) -> io::Result<File> {
    let (unnamed, named) = (directory.join("new"), directory.join(MARK));
    let lock = File::create(&unnamed)?;
    lock.lock()?;
    std::fs::rename(unnamed, named)?;
    Ok(lock)
}

/// Removes what was left by those who were killed and could not: directories whose mark nobody holds.
fn sweep(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let free = File::open(entry.path().join(MARK)).is_ok_and(|mark| mark.try_lock().is_ok());
        if free {
            // Somebody else may be sweeping, too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// A port that was free a moment ago. On Linux it stays so for whoever asks for any: a socket that is bound, but does
/// not listen, does not keep a server that names the port from listening there. Two servers that start at the same time
/// would otherwise now and then be given one port, and the slower one's caller would talk to the faster.
#[derive(Debug)]
struct Port {
    number: u16,
    _held: Option<TcpSocket>,
}

impl Port {
    fn free() -> io::Result<Port> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let number = socket.local_addr()?.port();
        let held = cfg!(target_os = "linux").then_some(socket);
        Ok(Port { number, _held: held })
    }
}

/// Whether a GET there is answered with 200.
fn answers(address: &str, path: &str) -> bool {
    let Ok(address) = address.parse::<SocketAddr>() else {
        return false;
    };
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_what_nobody_holds_is_swept() {
        let parent = tempfile::tempdir().expect("a directory");
        let make = |name: &str| {
            let path = parent.path().join(name);
            std::fs::create_dir(&path).expect("a directory");
            path
        };
        let (used, left) = (make("bq-local-used"), make("bq-local-left"));
        let (new, other) = (make("bq-local-new"), make("other"));
        let _held = hold(&used).expect("a lock");
        drop(hold(&left).expect("a lock"));
        drop(hold(&other).expect("a lock"));
        sweep(parent.path());
        assert_eq!(
            [used, left, new, other].map(|path| path.exists()),
            [true, false, true, true]
        );
    }

    #[test]
    fn a_port_is_kept_from_others_but_not_from_whoever_names_it() {
        let mine = Port::free().expect("a port");
        for _ in 0..1000 {
            let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            assert_ne!(other.local_addr().expect("an address").port(), mine.number);
        }
        let named = TcpListener::bind((Ipv4Addr::LOCALHOST, mine.number));
        drop(named.expect("std names an address for reuse, as servers do"));
    }
}
