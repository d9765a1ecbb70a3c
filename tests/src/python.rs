//! A Python that can run the local BigQuery: found on this machine, given a virtual environment once.
//!
//! It reads no environment variable itself ([`Surroundings`] are handed in) and knows nothing of servers.

use crate::Stop;
use crate::error::Error;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The oldest that will do: the local BigQuery uses PEP 695 generics and their defaults.
const OLDEST: (u32, u32) = (3, 13);

/// Between two looks at a child or a lock.
const POLL: Duration = Duration::from_millis(20);

/// The variables that say where a Python may be and where its environment goes; each may be missing.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `BQ_LOCAL_PYTHON_BASE`: this one and no other.
    pub base: Option<OsString>,
    /// `PATH`.
    pub path: Option<OsString>,
    /// `PYENV_ROOT`.
    pub pyenv_root: Option<OsString>,
    /// `HOME`.
    pub home: Option<OsString>,
    /// `XDG_CACHE_HOME`.
    pub cache: Option<OsString>,
}

impl Surroundings {
    /// Those of this process. An empty variable counts as missing.
    pub fn of_this_process() -> Self {
        let get = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Surroundings {
            base: get("BQ_LOCAL_PYTHON_BASE"),
            path: get("PATH"),
            pyenv_root: get("PYENV_ROOT"),
            home: get("HOME"),
            cache: get("XDG_CACHE_HOME"),
        }
    }

    /// Where environments are kept: the user's cache, or `target/` of the checkout where there is no user.
    fn cache_dir(&self, checkout: &Path) -> PathBuf {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let home = self.home.as_ref().map(|home| Path::new(home).join(".cache"));
        self.cache
            .as_ref()
            .map(PathBuf::from)
            .and_then(absolute)
            .or_else(|| home.and_then(absolute))
            .unwrap_or_else(|| checkout.join("target"))
            .join("bq-rollback")
    }

    /// What may be a Python, best first. Nothing is run.
    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(base) = &self.base {
            return vec![base.into()];
        }
        let folders: Vec<PathBuf> = match &self.path {
            Some(path) => std::env::split_paths(path).collect(),
            None => Vec::new(),
        };
        let mut found = Vec::new();
        for name in ["python3.15", "python3.14", "python3.13", "python3", "python"] {
            found.extend(
                folders
                    .iter()
                    .map(|folder| folder.join(name))
                    .filter(|file| file.is_absolute() && file.is_file()),
            );
        }
        found.extend(self.pyenv_versions());
        found
    }

    fn pyenv_versions(&self) -> Vec<PathBuf> {
        let root = self.pyenv_root.as_ref().map(PathBuf::from).or_else(|| {
            let home = self.home.as_ref()?;
            Some(Path::new(home).join(".pyenv"))
        });
        let Some(Ok(folder)) = root.map(|root| std::fs::read_dir(root.join("versions"))) else {
            return Vec::new();
        };
        let mut versions: Vec<_> = folder
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let version = Version::parse(path.file_name()?.to_str()?)?;
                Some((version, path.join("bin/python")))
            })
            .filter(|(version, _)| version.will_do())
            .collect();
        versions.sort_by(|(a, _), (b, _)| b.cmp(a));
        versions.into_iter().map(|(_, path)| path).collect()
    }

    /// What uv has installed, asked last: it is the only one that has to be run to be found.
    fn what_uv_finds(&self) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        let uv = std::env::split_paths(path)
            .map(|folder| folder.join("uv"))
            .find(|file| file.is_file())?;
        let wish = format!(">={}.{}", OLDEST.0, OLDEST.1);
        let output = Command::new(uv)
            .args(["python", "find", "--no-project", &wish])
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let line = text.lines().next().filter(|_| output.status.success())?;
        Some(line.into())
    }
}

/// `3.13.2`, of which the first two numbers matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim().splitn(3, '.');
        let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?);
        // pyenv writes `3.14t`, `3.15-dev`, `3.13.0rc1`: the leading digits say enough.
        let leading = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text.get(..end)?.parse().ok()
        };
        let patch = numbers.next().and_then(leading).unwrap_or(0);
        Some(Version(major, leading(minor)?, patch))
    }

    fn will_do(self) -> bool {
        (self.0, self.1) >= OLDEST
    }
}

/// An environment in which the local BigQuery is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// The interpreter inside the environment.
    pub path: PathBuf,
}

/// Finds the environment, or makes it: the first time takes half a minute, which `say` is told.
/// `home` is the folder with `requirements.txt` (`tests/local-bigquery` of the checkout).
///
/// # Errors
/// [`Kind::Usage`](crate::error::Kind::Usage) when no Python will do or the environment cannot be made;
/// [`Kind::Stopped`](crate::error::Kind::Stopped) when `stop` was asked.
pub fn ready(
    surroundings: &Surroundings,
    home: &Path,
    stop: &Stop,
    say: &mut dyn FnMut(&str),
) -> Result<Python, Error> {
    let requirements = home.join("requirements.txt");
    let wanted = std::fs::read(&requirements).map_err(|e| {
        Error::usage(
            format!("cannot read what to install: {e}"),
            requirements.display(),
            "run it from a whole checkout",
        )
    })?;
    let (base, version) = find(surroundings)?;
    let checkout = home.ancestors().nth(2).unwrap_or(home);
    let cache = surroundings.cache_dir(checkout);
    let mut digest = Sha256::new();
    digest.update(&wanted);
    digest.update(format!("{version:?} {}", base.display()));
    let hash: String = digest
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let making = Making {
        base,
        folder: cache.join(format!("venv-{hash}")),
        lock: cache.join(format!("venv-{hash}.lock")),
        requirements,
        stop,
    };
    if !making.is_whole() {
        making.make(say)?;
    }
    Ok(Python { path: making.python() })
}

/// The first candidate that says a version that will do.
fn find(surroundings: &Surroundings) -> Result<(PathBuf, Version), Error> {
    let late = surroundings
        .base
        .is_none()
        .then(|| std::iter::once_with(|| surroundings.what_uv_finds()).flatten());
    surroundings
        .candidates()
        .into_iter()
        .chain(late.into_iter().flatten())
        .find_map(|path| {
            let version = version_of(&path).filter(|v| v.will_do())?;
            Some((path, version))
        })
        .ok_or_else(|| {
            let (major, minor) = OLDEST;
            let at = match &surroundings.base {
                Some(base) => format!("BQ_LOCAL_PYTHON_BASE={}", Path::new(base).display()),
                None => "PATH, pyenv's versions, `uv python find`".into(),
            };
            Error::usage(
                format!("no Python {major}.{minor} or newer (with `venv`) for the local BigQuery"),
                at,
                format!(
                    "`pyenv install {major}.{minor}`, `uv python install {major}.{minor}` or your system's \
                     python{major}.{minor} and python{major}.{minor}-venv"
                ),
            )
        })
}

/// Asks by running: a shim of pyenv that is not selected is a file, too, and exits 127.
fn version_of(python: &Path) -> Option<Version> {
    // Debian ships Python without `ensurepip`; such a one could not make an environment.
    let ask = "import sys, importlib.util as u; \
        print('%d.%d.%d' % sys.version_info[:3] if u.find_spec('venv') and u.find_spec('ensurepip') else '')";
    let mut command = Command::new(python);
    without_pythons_own(&mut command);
    let output = command
        .args(["-S", "-c", ask])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| Version::parse(&text)).flatten()
}

/// Variables that make one Python load the modules of another.
pub(crate) fn without_pythons_own(command: &mut Command) {
    for name in [
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PYTHONSAFEPATH",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    ] {
        command.env_remove(name);
    }
}

/// An environment that is, or is to be made.
struct Making<'a> {
    base: PathBuf,
    folder: PathBuf,
    lock: PathBuf,
    requirements: PathBuf,
    stop: &'a Stop,
}

impl Making<'_> {
    fn python(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// The mark is the last thing made. The interpreter is a link, which dangles when its Python was removed.
    fn mark(&self) -> PathBuf {
        self.folder.join("whole")
    }

    fn is_whole(&self) -> bool {
        self.mark().exists() && self.python().exists()
    }

    fn trouble(&self, doing: &str, error: &std::io::Error) -> Error {
        Error::usage(
            format!("cannot {doing} the Python environment: {error}"),
            self.folder.display(),
            "make room there, or set XDG_CACHE_HOME to a directory that can be written",
        )
    }

    /// Made in place, under a lock: an environment knows its own path, so it cannot be moved into place.
    fn make(&self, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let trouble = |error: std::io::Error| self.trouble("make", &error);
        if let Some(cache) = self.lock.parent() {
            std::fs::create_dir_all(cache).map_err(trouble)?;
        }
        let lock = File::create(&self.lock).map_err(trouble)?;
        self.wait_for(&lock, say)?;
        if self.is_whole() {
            return Ok(());
        }
        if self.folder.exists() {
            std::fs::remove_dir_all(&self.folder).map_err(trouble)?;
        }
        say("installing the local BigQuery (Python packages, 650 MB): once, about half a minute");
        let folder = self.folder.as_os_str();
        // `--without-pip` and the base's pip would be faster, but not every base has one.
        self.run(
            &lock,
            Command::new(&self.base).args(["-m", "venv", "--clear"]).arg(folder),
        )?;
        self.run(
            &lock,
            Command::new(self.python())
                .args(["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"])
                .args(["--disable-pip-version-check", "--no-input", "-r"])
                .arg(&self.requirements),
        )?;
        File::create(self.mark()).map_err(trouble)?;
        say("installed");
        Ok(())
    }

    fn wait_for(&self, lock: &File, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(self.trouble("lock", &error)),
            }
            if self.stop.asked() {
                return Err(Error::stopped(self.lock.display()));
            }
            if !told {
                say("waiting for another bq-local that installs the local BigQuery");
                told = true;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Runs a step to its end; its output is shown only when it fails.
    fn run(&self, lock: &File, command: &mut Command) -> Result<(), Error> {
        let trouble = |error: std::io::Error| self.trouble("make", &error);
        let mut log = tempfile::tempfile().map_err(trouble)?;
        without_pythons_own(command);
        let mut child = command
            // The child holds the lock as well: should this process be killed, nobody starts over beside it.
            .stdin(lock.try_clone().map_err(trouble)?)
            .stdout(log.try_clone().map_err(trouble)?)
            .stderr(log.try_clone().map_err(trouble)?)
            .spawn()
            .map_err(trouble)?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(trouble)? {
                break status;
            }
            if self.stop.asked() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::stopped(self.folder.display()));
            }
            std::thread::sleep(POLL);
        };
        if status.success() {
            return Ok(());
        }
        let mut output = String::new();
        std::io::Seek::rewind(&mut log)
            .and_then(|()| log.read_to_string(&mut output))
            .map_err(trouble)?;
        Err(Error::usage(
            format!("cannot install the local BigQuery: {status}"),
            self.requirements.display(),
            "read the lines above; pip takes an index, a proxy or a certificate from PIP_* variables",
        )
        .with_tail(&output, 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Written by another process: a file that this one has open for writing while some other test forks cannot be run.
    fn program(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        let status = Command::new("sh")
            .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod +x \"$0\""])
            .args([path.as_os_str(), text.as_ref()])
            .status();
        assert!(status.expect("sh").success());
    }

    #[test]
    fn versions_read_as_pyenv_and_python_write_them() {
        for (text, version) in [
            ("3.13.0\n", Some(Version(3, 13, 0))),
            ("3.15-dev", Some(Version(3, 15, 0))),
            ("3.14t", Some(Version(3, 14, 0))),
            ("3.13.0rc1", Some(Version(3, 13, 0))),
            ("3", None),
            ("", None),
            ("pypy3.10-7.3", None),
        ] {
            assert_eq!(Version::parse(text), version, "{text}");
        }
        assert!(Version(3, 13, 0).will_do() && Version(4, 0, 0).will_do());
        assert!(!Version(3, 12, 9).will_do());
    }

    #[test]
    fn a_candidate_counts_only_if_it_says_a_version_that_will_do() {
        let scratch = tempfile::tempdir().expect("a directory");
        let bin = scratch.path().join("bin");
        program(&bin.join("python3.14"), "exit 127");
        program(&bin.join("python3.13"), "echo");
        program(&bin.join("python3"), "echo 3.12.1");
        let surroundings = Surroundings {
            path: Some(bin.clone().into()),
            pyenv_root: Some(scratch.path().join("pyenv").into()),
            ..Surroundings::default()
        };
        let error = find(&surroundings).expect_err("none will do");
        assert_eq!(error.to_string().lines().count(), 3);

        for version in ["3.9.1", "3.13.0", "3.14.2"] {
            let python = scratch.path().join(format!("pyenv/versions/{version}/bin/python"));
            program(&python, &format!("echo {version}"));
        }
        let (path, version) = find(&surroundings).expect("pyenv's newest");
        assert_eq!(version, Version(3, 14, 2));
        assert!(path.starts_with(scratch.path().join("pyenv")));

        program(&bin.join("python"), "echo 3.13.7");
        let (path, _) = find(&surroundings).expect("the one on PATH");
        assert_eq!(path, bin.join("python"));

        let fixed = Surroundings {
            base: Some(bin.join("python3").into()),
            ..surroundings
        };
        let error = find(&fixed).expect_err("too old, and no other is looked for");
        assert!(error.at.starts_with("BQ_LOCAL_PYTHON_BASE="), "{error}");
    }

    #[test]
    fn uv_is_asked_last() {
        let scratch = tempfile::tempdir().expect("a directory");
        let bin = scratch.path().join("bin");
        let python = scratch.path().join("uv's/python");
        program(&python, "echo 3.13.1");
        program(&bin.join("uv"), &format!("echo \"{}\"", python.display()));
        let surroundings = Surroundings {
            path: Some(bin.into()),
            ..Surroundings::default()
        };
        assert_eq!(find(&surroundings).expect("uv's").0, python);
    }

    #[test]
    fn the_cache_is_the_users_or_in_the_checkout() {
        let some = |text: &str| Some(OsString::from(text));
        for (cache, home, expected) in [
            (some("/c"), some("/h"), "/c/bq-rollback"),
            (None, some("/h"), "/h/.cache/bq-rollback"),
            (some("relative"), some("/h"), "/h/.cache/bq-rollback"),
            (None, None, "/checkout/target/bq-rollback"),
        ] {
            let surroundings = Surroundings {
                cache,
                home,
                ..Surroundings::default()
            };
            assert_eq!(surroundings.cache_dir(Path::new("/checkout")), Path::new(expected));
        }
    }

    /// A pretend Python: `-c` says a version, `-m venv … DIR` copies itself there, `-m pip` does as told by a file.
    fn pretend(at: &Path, pip: &str) -> Surroundings {
        let python = at.join("python");
        program(
            &python,
            &format!(
                "case \"$1 $2\" in\n-S*) echo 3.13.0;;\n'-m venv') for d; do :; done; mkdir -p \"$d/bin\" && cp \"$0\" \"$d/bin/python\";;\n\
                 '-m pip') echo run >> '{}'; {pip};;\nesac",
                at.join("runs").display()
            ),
        );
        Surroundings {
            base: Some(python.into()),
            cache: Some(at.join("cache").into()),
            ..Surroundings::default()
        }
    }

    fn checkout(at: &Path) -> PathBuf {
        let home = at.join("tests/local-bigquery");
        fs::create_dir_all(&home).expect("a folder");
        fs::write(home.join("requirements.txt"), "x==1\n").expect("a file");
        home
    }

    #[test]
    fn an_environment_is_made_once_also_by_several_at_a_time() {
        let scratch = tempfile::tempdir().expect("a directory");
        let surroundings = pretend(scratch.path(), "true");
        let home = checkout(scratch.path());
        let made: Vec<Python> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| ready(&surroundings, &home, &Stop::default(), &mut |_| {}).expect("a venv")))
                .collect();
            all.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(made.iter().all(|python| *python == made[0]));
        let runs = || fs::read_to_string(scratch.path().join("runs")).expect("runs");
        assert_eq!(runs(), "run\n");

        // Other requirements, another environment.
        fs::write(home.join("requirements.txt"), "x==2\n").expect("a file");
        let other = ready(&surroundings, &home, &Stop::default(), &mut |_| {}).expect("another venv");
        assert_ne!(other, made[0]);
        assert_eq!(runs(), "run\nrun\n");
    }

    #[test]
    fn a_half_made_environment_is_made_anew() {
        let scratch = tempfile::tempdir().expect("a directory");
        let surroundings = pretend(scratch.path(), "echo no such package >&2; exit 1");
        let home = checkout(scratch.path());
        let make = || ready(&surroundings, &home, &Stop::default(), &mut |_| {});
        let error = make().expect_err("pip failed");
        assert_eq!(error.tail, "no such package");
        pretend(scratch.path(), "true");
        let python = make().expect("made anew").path;
        assert!(python.exists());
    }

    #[test]
    fn a_stop_ends_the_making() {
        let scratch = tempfile::tempdir().expect("a directory");
        let surroundings = pretend(scratch.path(), "exec sleep 60");
        let home = checkout(scratch.path());
        let stop = Stop::default();
        let asked = stop.clone();
        let error = ready(&surroundings, &home, &stop, &mut |_| asked.ask()).expect_err("stopped");
        assert_eq!(error.kind, crate::error::Kind::Stopped);
    }
}
