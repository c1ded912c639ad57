//! The emulator's process: started in the background, found again by later commands, stopped with all its children.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::tools::{self, EMULATOR};
use crate::{LocalError, Project, run, say, tail};

/// Timeout for the emulator's first answer, which takes about a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running emulator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Emulator {
    /// Its loopback port.
    pub port: u16,
    /// The process, which leads a process group.
    pid: u32,
}

impl Emulator {
    /// The endpoint of every AWS service, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The environment for AWS tools and SDKs. The credentials are no secret.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_DEFAULT_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ]
    }

    /// Leads a program of AWS to the emulator, and away from what the user's own environment leads to.
    pub fn lead<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in ["AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"] {
            command.env_remove(name);
        }
        command.envs(self.environment()).env("NO_PROXY", "127.0.0.1,localhost")
    }

    /// The emulator that is running, started if there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be installed, or does not answer within a minute.
    pub fn up(project: &Project) -> Result<Self, LocalError> {
        if let Some(running) = Self::running(project) {
            say(&format!("the emulator is running on port {}", running.port));
            return Ok(running);
        }
        // What is left of one that died is of no use to another.
        Self::down(project)?;
        let programs = tools::install(project, EMULATOR)?;
        let folder = project.run();
        fs::create_dir_all(&folder).map_err(LocalError::io(folder.display().to_string()))?;
        let port = free_port()?;
        let log = folder.join("emulator.log");
        let output = File::create(&log).map_err(LocalError::io(log.display().to_string()))?;
        let errors = output.try_clone().map_err(LocalError::io(log.display().to_string()))?;
        let mut emulator = Self { port, pid: 0 };
        let builder = std::env::current_exe().map_err(LocalError::io("this program"))?;
        let mut child = emulator
            .lead(&mut Command::new(programs.join("python")))
            .arg(project.root().join("infra/local/ministack_exact.py"))
            .current_dir(&folder)
            .env("LOCAL_BUILDER", builder)
            .env("GATEWAY_PORT", port.to_string())
            .env("BIND_HOST", "127.0.0.1")
            // It would take a fixed port.
            .env("IOT_MTLS_ENABLED", "0")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(LocalError::io("the emulator"))?;
        emulator.pid = child.id();
        emulator.remember(project)?;
        let started = Instant::now();
        while !emulator.is_ready() {
            let has_ended = !matches!(child.try_wait(), Ok(None));
            if started.elapsed() > PATIENCE || has_ended {
                let output = tail(&fs::read_to_string(&log).unwrap_or_default());
                Self::down(project)?;
                return Err(LocalError::NotReady { port, log, output });
            }
            sleep(Duration::from_millis(100));
        }
        say(&format!("the emulator is up on port {port}"));
        Ok(emulator)
    }

    /// The emulator that an earlier command started, if it still answers.
    #[must_use]
    pub fn running(project: &Project) -> Option<Self> {
        let text = fs::read_to_string(Self::file(project)).ok()?;
        let emulator: Self = serde_json::from_str(&text).ok()?;
        emulator.is_ready().then_some(emulator)
    }

    /// Stops the emulator and removes what belongs to it; nothing to do is no failure.
    ///
    /// # Errors
    ///
    /// When its files cannot be removed.
    pub fn down(project: &Project) -> Result<(), LocalError> {
        if let Ok(text) = fs::read_to_string(Self::file(project))
            && let Ok(emulator) = serde_json::from_str::<Self>(&text)
            && emulator.is_alive()
        {
            // The group: the functions that it runs are its children.
            let group = format!("-{}", emulator.pid);
            let _ = run(Command::new("kill").args(["-TERM", "--", &group]));
            let signalled = Instant::now();
            while emulator.is_alive() && signalled.elapsed() < Duration::from_secs(5) {
                sleep(Duration::from_millis(50));
            }
            let _ = run(Command::new("kill").args(["-KILL", "--", &group]));
        }
        tools::remove(&project.run())
    }

    fn file(project: &Project) -> PathBuf {
        project.run().join("emulator.json")
    }

    fn remember(&self, project: &Project) -> Result<(), LocalError> {
        let file = Self::file(project);
        let text = serde_json::to_string(self).unwrap_or_default();
        fs::write(&file, text).map_err(LocalError::io(file.display().to_string()))
    }

    /// Whether the process exists and is an emulator, and not another one with a reused id.
    fn is_alive(&self) -> bool {
        fs::read(format!("/proc/{}/cmdline", self.pid))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains("ministack"))
    }

    fn is_ready(&self) -> bool {
        let ask = || -> std::io::Result<bool> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(
                b"GET /_ministack/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
            )?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            Ok(answer.ends_with(b"200"))
        };
        self.is_alive() && ask().unwrap_or(false)
    }
}

fn free_port() -> Result<u16, LocalError> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(LocalError::io("looking for a free port"))?;
    Ok(listener.local_addr().map_err(LocalError::io("looking for a free port"))?.port())
}
