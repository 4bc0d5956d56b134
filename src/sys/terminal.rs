//! Asking for a password on the terminal, whatever the standard streams are, without showing it.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

/// What Ctrl-C sends.
const CTRL_C: u8 = 0x03;
/// The longest line a terminal hands over (`N_TTY_BUF_SIZE` of the kernel).
const LONGEST_LINE: usize = 4096;

/// Asks for a line on the controlling terminal without echo.
///
/// # Errors
/// `NotFound` or `ENXIO` where there is no terminal; `Interrupted` on Ctrl-C; `InvalidData` where it is no UTF-8.
pub fn ask_hidden(prompt: &str) -> io::Result<String> {
    let mut terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let _silence = Silence::begin(&terminal)?;
    terminal.write_all(prompt.as_bytes())?;
    let mut line = vec![0; LONGEST_LINE];
    let length = terminal.read(&mut line)?;
    line.truncate(length);
    if line.last() == Some(&CTRL_C) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "interrupted"));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no UTF-8 text"))
}

/// A terminal that shows nothing until this is dropped.
struct Silence {
    terminal: std::fs::File,
    before: Termios,
}

impl Silence {
    fn begin(terminal: &std::fs::File) -> io::Result<Self> {
        let terminal = terminal.try_clone()?;
        let before = tcgetattr(terminal.as_fd())?;
        let mut silent = before.clone();
        // Ctrl-C must not end the process before echo is on again: it ends the line instead, as a second line end.
        silent.local_flags.remove(LocalFlags::ECHO | LocalFlags::ISIG);
        silent.local_flags.insert(LocalFlags::ECHONL | LocalFlags::ICANON);
        silent.control_chars[SpecialCharacterIndices::VEOL as usize] = CTRL_C;
        tcsetattr(terminal.as_fd(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // A terminal that has gone away needs no restoring.
        let _ = tcsetattr(self.terminal.as_fd(), SetArg::TCSANOW, &self.before);
    }
}

/// True if standard output is a terminal.
pub fn is_stdout() -> bool {
    std::io::IsTerminal::is_terminal(&io::stdout())
}
