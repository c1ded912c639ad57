//! Asks for confirmation before something is deleted that may not come back.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{output, progress};

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfirmError {
    #[error("nothing was done, since nobody can be asked here: {0}. Add --yes to confirm it")]
    NobodyToAsk(String),
    #[error("nothing was done: it was not confirmed")]
    Refused,
    #[error("nothing was done: no answer could be read: {0}")]
    Unread(io::Error),
}

/// Asks for confirmation by a word, unless it was given already. `what` says what will be done.
pub(crate) fn confirm(what: &str, word: &str, is_confirmed: bool) -> Result<(), ConfirmError> {
    if is_confirmed {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(ConfirmError::NobodyToAsk(what.to_owned()));
    }
    let mut answer = String::new();
    progress::suspended(|| {
        let mut err = output::error();
        write!(err, "{what}. Type `{word}` to go on: ").and_then(|()| err.flush())?;
        io::stdin().lock().read_line(&mut answer)
    })
    .map_err(ConfirmError::Unread)?;
    if answer.trim() == word { Ok(()) } else { Err(ConfirmError::Refused) }
}
