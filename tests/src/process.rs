//! Child processes that never outlive the test, each with a log of its own.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};

use crate::{netns::Place, wait};

/// What to start, and where.
#[derive(Debug)]
pub struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    place: Place,
    user: Option<u32>,
    stdin: bool,
}

impl Launch {
    /// Starts `program` under `name`, which names its log as well.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            place: Place::host(),
            user: None,
            stdin: false,
        }
    }

    /// Appends arguments.
    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts it in a network namespace.
    pub fn at(mut self, place: &Place) -> Self {
        self.place = place.clone();
        self
    }

    /// Starts it as a user and group of this id, that may read every file but write only its own.
    pub fn user(mut self, id: u32) -> Self {
        self.user = Some(id);
        self
    }

    /// Gives it a pipe as standard input, to be closed with [`Process::close_stdin`].
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Starts the process; it logs to `NAME.log` and prints to `NAME.out` in `dir`.
    pub fn start(self, dir: &Path) -> Result<Process> {
        let log = dir.join(format!("{}.log", self.name));
        let out = dir.join(format!("{}.out", self.name));
        let mut command = self.place.command("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(id) = self.user {
            let id = id.to_string();
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
            command.args(["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]);
        }
        command.arg(&self.program).args(&self.args).envs(self.env).current_dir(dir);
        command.stdin(if self.stdin { Stdio::piped() } else { Stdio::null() });
        command.stdout(File::create(&out)?).stderr(File::options().create(true).append(true).open(&log)?);
        let mut child = spawn(command).with_context(|| format!("starting {}", self.program.display()))?;
        Ok(Process { name: self.name, stdin: child.stdin.take(), child, log, out })
    }
}

/// Spawns from a thread that lives as long as this process: the kernel sends the death signal when the *thread* that
/// made a child ends, and tests that share a fixture each have their own.
fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

/// A running child process, killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    log: PathBuf,
    out: PathBuf,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Fails with the end of the log if the process has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.ended() {
            Some(status) => {
                let tail = self.log_tail(30);
                Err(wait::Hopeless(format!("{} ended with {status}; the end of its log:\n{tail}", self.name))
                    .into())
            }
            None => Ok(()),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// Ends it without a chance to clean up, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(limit).await
    }

    /// Waits until it has ended.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait::until(format!("end of {}", self.name), limit, async || Ok(self.child.try_wait()?)).await
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it printed so far.
    pub fn output(&self) -> Result<String> {
        fs::read_to_string(&self.out).with_context(|| format!("reading what {} printed", self.name))
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The last lines of its log and output.
    pub fn log_tail(&self, lines: usize) -> String {
        let all = self.log() + &self.output().unwrap_or_default();
        let skip = all.lines().count().saturating_sub(lines);
        all.lines().skip(skip).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
        if thread::panicking() {
            eprintln!("--- end of the log of {}\n{}", self.name, self.log_tail(15));
        }
    }
}

/// Runs a command to its end and returns what it printed.
pub fn run(mut command: Command) -> Result<String> {
    let out = command.output().with_context(|| format!("running {:?}", command.get_program()))?;
    if !out.status.success() {
        let line: Vec<&OsStr> = command.get_args().collect();
        return Err(anyhow!(
            "{:?} {line:?} failed ({}): {}",
            command.get_program(),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}
