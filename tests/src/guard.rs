//! The end of what `bq-local` started, when `bq-local` itself is killed and can end nothing any more.
//!
//! A guard is a second process that reads a pipe held by the first. The pipe closes when the first is gone, however
//! that came; unless it was told before that all is well, the guard then kills what was named to it.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io::{self, BufRead, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// What `bq-local` is called with to be a guard: no word of its command line.
pub const FLAG: &str = "--be-the-guard";

/// The line that says that nothing is left to kill.
const WELL: &str = "well";

/// The hold on a guard. Dropping it says that all is well.
#[derive(Debug)]
pub struct Guard(Child);

impl Guard {
    /// Starts a guard: this program again.
    ///
    /// # Errors
    /// When no process can be started.
    pub fn start() -> io::Result<Guard> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg(FLAG)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // The terminal's Ctrl-C is for the command, not for its guard; and it must not pin a directory.
            .process_group(0)
            .current_dir("/");
        command.spawn().map(Guard)
    }

    /// Names a process to kill (`group`: and all of its group).
    ///
    /// # Errors
    /// When the guard is gone.
    pub fn kill(&mut self, pid: u32, group: bool) -> io::Result<()> {
        self.say(&format!("{} {pid}", if group { "group" } else { "process" }))
    }

    fn say(&mut self, line: &str) -> io::Result<()> {
        match &mut self.0.stdin {
            Some(pipe) => pipe.write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // If it is gone already, only its entry is left to reap.
        let _ = self.say(WELL);
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Is the guard: the whole of that process.
pub fn run(input: impl BufRead) {
    let mut named = Vec::new();
    for line in input.lines().map_while(Result::ok) {
        if line == WELL {
            return;
        }
        named.extend(parse_kill(&line));
    }
    for (pid, group) in named {
        // Gone already is as good.
        let _ = match group {
            true => kill_process_group(pid, Signal::KILL),
            false => kill_process(pid, Signal::KILL),
        };
    }
}

fn parse_kill(line: &str) -> Option<(Pid, bool)> {
    let (word, pid) = line.split_once(' ')?;
    let group = match word {
        "group" => true,
        "process" => false,
        _ => return None,
    };
    Some((Pid::from_raw(pid.parse().ok()?)?, group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_about_real_numbers_kill() {
        for (line, expected) in [
            ("group 12", Some((12, true))),
            ("process 12", Some((12, false))),
            ("process 0", None),
            ("group", None),
            ("group x", None),
            ("other 12", None),
        ] {
            let found = parse_kill(line).map(|(p, g)| (p.as_raw_nonzero().get(), g));
            assert_eq!(found, expected, "{line}");
        }
    }
}
