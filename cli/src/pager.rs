//! The pager: output that is longer than the screen is shown by the program that git would use for it.
//!
//! Only on a terminal. Lines are held back until they are more than the screen has; then the pager is started, and has all of them.
//! What fits is printed as it is. A pager that is left early is like a pipe whose reader left: the command goes on, and has its
//! usual exit code.

use std::io::{self, IsTerminal, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{output, progress};

/// What `less` does where `LESS` says nothing: ends if all fits, shows colours, leaves the screen as it is, and ends when the
/// command is interrupted.
const LESS: &str = "FRXK";

/// Where standard output goes.
#[derive(Debug)]
enum Sink {
    /// To standard output.
    Direct,
    /// It is held back until it is longer than the screen.
    Held { program: Vec<String>, screen: Screen, text: Vec<u8>, lines: usize, column: usize },
    /// To a pager, and notes until it has ended.
    Paged { pager: Child, input: Option<ChildStdin>, notes: Vec<String> },
}

/// The size of the terminal, in characters.
#[derive(Debug, Clone, Copy)]
struct Screen {
    width: usize,
    height: usize,
}

static SINK: Mutex<Sink> = Mutex::new(Sink::Direct);

fn sink() -> MutexGuard<'static, Sink> {
    // Nothing half-done is left behind by a panic, which ends the process.
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has standard output go through a pager if that is a terminal and longer than its screen.
pub(crate) fn begin() {
    let variable = |name: &str| std::env::var(name).ok();
    let is_dumb = matches!(variable("TERM").as_deref(), None | Some("" | "dumb"));
    if is_dumb || !io::stdout().is_terminal() {
        return;
    }
    let Some((terminal_size::Width(width), terminal_size::Height(height))) = terminal_size::terminal_size()
    else {
        return;
    };
    let asked = variable("ECR_STEWARD_PAGER").or_else(|| variable("PAGER"));
    let Some(program) = program(asked.as_deref()) else { return };
    let screen = Screen { width: usize::from(width.max(1)), height: usize::from(height) };
    *sink() = Sink::Held { program, screen, text: Vec::new(), lines: 0, column: 0 };
}

/// The program and its arguments; `None` where there is to be none.
fn program(asked: Option<&str>) -> Option<Vec<String>> {
    /// Characters that only a shell understands, as git has them.
    const OF_SHELL: [char; 19] =
        ['|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~', '=', '%'];
    let asked = asked.unwrap_or("less").trim();
    match asked {
        "" | "cat" => None,
        asked if asked.contains(OF_SHELL) => Some(vec!["sh".to_owned(), "-c".to_owned(), asked.to_owned()]),
        asked => Some(asked.split_whitespace().map(str::to_owned).collect()),
    }
}

/// Starts a pager; `None` if there is no such program.
fn start(program: &[String]) -> Option<(Child, ChildStdin)> {
    let (name, arguments) = program.split_first()?;
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::piped());
    for (variable, value) in [("LESS", LESS), ("LV", "-c")] {
        if std::env::var_os(variable).is_none() {
            command.env(variable, value);
        }
    }
    let mut pager = command.spawn().ok()?;
    let input = pager.stdin.take()?;
    Some((pager, input))
}

/// Writes to where standard output goes.
pub(crate) fn write(bytes: &[u8]) -> io::Result<usize> {
    let mut sink = sink();
    match &mut *sink {
        Sink::Direct => io::stdout().write(bytes),
        Sink::Held { program, screen, text, lines, column } => {
            text.extend_from_slice(bytes);
            for &byte in bytes {
                *column = if byte == b'\n' { 0 } else { *column + 1 };
                // A line that is longer than the terminal is wide takes several.
                if byte == b'\n' || (*column > screen.width && *column % screen.width == 1) {
                    *lines += 1;
                }
            }
            // The last line is the shell's.
            if *lines >= screen.height {
                let text = std::mem::take(text);
                progress::hide();
                match start(program) {
                    Some((pager, mut input)) => {
                        let written = input.write_all(&text);
                        *sink = Sink::Paged { pager, input: Some(input), notes: Vec::new() };
                        unless_closed(written)?;
                    }
                    None => {
                        *sink = Sink::Direct;
                        progress::show();
                        io::stdout().write_all(&text)?;
                    }
                }
            }
            Ok(bytes.len())
        }
        Sink::Paged { input, .. } => {
            if let Some(open) = input
                && let Err(error) = open.write_all(bytes)
            {
                // Who left the pager has seen enough.
                *input = None;
                unless_closed(Err(error))?;
            }
            Ok(bytes.len())
        }
    }
}

fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Whether what is written does not reach the terminal by itself.
pub(crate) fn is_between() -> bool {
    !matches!(&*sink(), Sink::Direct)
}

/// Flushes what was written.
pub(crate) fn flush() -> io::Result<()> {
    match &mut *sink() {
        Sink::Direct => io::stdout().flush(),
        Sink::Held { .. } | Sink::Paged { .. } => Ok(()),
    }
}

/// Keeps a note until the pager has ended, in whose screen it would stand; gives it back if there is none.
pub(crate) fn defer(note: String) -> Option<String> {
    match &mut *sink() {
        Sink::Paged { notes, .. } => {
            notes.push(note);
            None
        }
        Sink::Direct | Sink::Held { .. } => Some(note),
    }
}

/// Ends the pager: prints what was buffered, or waits until the user leaves it.
pub(crate) fn end() -> io::Result<()> {
    let ended = std::mem::replace(&mut *sink(), Sink::Direct);
    match ended {
        Sink::Direct => Ok(()),
        Sink::Held { text, .. } => progress::suspended(|| {
            let mut out = io::stdout();
            out.write_all(&text)?;
            out.flush()
        }),
        Sink::Paged { mut pager, input, notes } => {
            drop(input);
            // How the pager ends says nothing of the command.
            let waited = pager.wait().map(|_| ());
            progress::show();
            notes.iter().for_each(|note| output::note(note));
            waited
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_named_as_for_git() {
        let words = |asked: Option<&str>| program(asked).map(|words| words.join("·"));
        assert_eq!(words(None).as_deref(), Some("less"));
        assert_eq!(words(Some("bat --plain")).as_deref(), Some("bat·--plain"));
        assert_eq!(words(Some("tee /tmp/x | less")).as_deref(), Some("sh·-c·tee /tmp/x | less"));
        for none in ["", " ", "cat"] {
            assert_eq!(words(Some(none)), None);
        }
    }
}
