//! A terminal as a person sees it: tmux draws what a program writes, and keys are typed.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Place, text};
use crate::installed;

/// How long anything may take to appear.
const LIMIT: Duration = Duration::from_secs(30);

/// A terminal of its own tmux server; both end when it is dropped.
pub struct Terminal {
    socket: String,
    environment: Vec<(String, String)>,
    /// How often it was cleared.
    screens: AtomicUsize,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

impl Terminal {
    /// A shell (`bash`, `zsh` or `fish`, without its owner's configuration) in a terminal of that size, with our
    /// binary first in `PATH`.
    pub fn open(place: &Place, shell: &str, columns: u16, rows: u16) -> Self {
        let socket = place.root().join("tmux").to_str().unwrap().to_owned();
        let home = place.root().join("home").to_str().unwrap().to_owned();
        let environment = [
            ("PATH", installed::path(place)),
            ("HOME", home),
            ("LC_ALL", "C.UTF-8".to_owned()),
            ("MACHINE_STORAGE_PATH", place.store().to_str().unwrap().to_owned()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        let terminal = Self { socket, environment, screens: AtomicUsize::new(1) };
        let start = match shell {
            "bash" => "exec bash --norc --noprofile",
            "zsh" => "exec zsh -f",
            "fish" => "exec fish --no-config",
            _ => panic!("no {shell} here"),
        };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let root = place.root();
        let folder = root.to_str().unwrap();
        terminal.must(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &columns,
            "-y",
            &rows,
            "-c",
            folder,
            start,
        ]);
        // The prompt is the same in all of them.
        let prompt = match shell {
            "fish" => "function fish_prompt; echo '> '; end; function fish_title; end",
            _ => "PS1='> '",
        };
        terminal.line(prompt);
        terminal.clear();
        terminal
    }

    fn tmux(&self, words: &[&str]) -> std::io::Result<std::process::Output> {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(words).env_clear().stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).output()
    }

    #[track_caller]
    fn must(&self, words: &[&str]) -> String {
        let run = self.tmux(words).unwrap();
        assert!(run.status.success(), "tmux {words:?}: {}", text(&run.stderr));
        text(&run.stdout)
    }

    /// Types text.
    pub fn text(&self, text: &str) {
        self.must(&["send-keys", "-l", "--", text]);
    }

    /// Presses a key by tmux' name of it: `Enter`, `Tab`, `C-c`.
    pub fn key(&self, key: &str) {
        self.must(&["send-keys", key]);
    }

    /// Types a line and Enter.
    pub fn line(&self, line: &str) {
        self.text(line);
        self.key("Enter");
    }

    /// An empty screen but for a first line, and nothing on the prompt's line.
    pub fn clear(&self) {
        // Ctrl-C would also throw away what is typed after it, if the shell is slow.
        self.key("C-u");
        let mark = format!("screen {}", self.screens.fetch_add(1, Ordering::Relaxed));
        self.line(&format!("clear; echo {mark}"));
        self.until("the screen is empty", |screen| screen == format!("{mark}\n>\n"));
    }

    /// What is to be seen, without blanks at the ends of lines and without empty lines at the end.
    pub fn screen(&self) -> String {
        let drawn = self.must(&["capture-pane", "-p"]);
        let lines: Vec<&str> = drawn.lines().map(str::trim_end).collect();
        lines.join("\n").trim_end().to_owned() + "\n"
    }

    /// What is to be seen, with the sequences that colour it.
    pub fn coloured(&self) -> String {
        self.must(&["capture-pane", "-p", "-e"])
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.must(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Waits until the screen is so, and returns it.
    ///
    /// # Panics
    /// It is not within the limit.
    #[track_caller]
    pub fn until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(started.elapsed() < LIMIT, "waited {LIMIT:?} until {what}; the screen:\n{screen}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits until the text is to be seen.
    #[track_caller]
    pub fn shows(&self, text: &str) -> String {
        self.until(&format!("{text:?} is shown"), |screen| screen.contains(text))
    }
}
