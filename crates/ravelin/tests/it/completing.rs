//! Completions, asked for by the shells themselves.

use std::process::Command;

use testkit::{require, run};

/// A shell, what has it parse a script without running it, and what has it complete
/// `ravelin store te` with that script or, where that takes a terminal, say who would.
const SHELLS: [(&str, &[&str], &[&str], &str); 3] = [
    (
        "bash",
        &["-n"],
        &[
            "--norc",
            "-c",
            r#"source "$1"; COMP_WORDS=(ravelin store te) COMP_CWORD=2; _ravelin ravelin te store; echo "${COMPREPLY[@]}""#,
            "-",
        ],
        "test\n",
    ),
    (
        "zsh",
        &["-f", "-n"],
        &[
            "-f",
            "-c",
            r#"autoload -U compinit; compinit -D -u; source "$1"; echo $_comps[ravelin]; whence -w _ravelin"#,
            "-",
        ],
        "_ravelin\n_ravelin: function\n",
    ),
    (
        "fish",
        &["--no-execute"],
        &[
            "--no-config",
            "-c",
            r#"source $argv[1]; complete --do-complete "ravelin store te" | string split --fields 1 \t"#,
        ],
        "test\n",
    ),
];

#[test]
fn bash_zsh_and_fish_parse_their_completions_and_complete_with_them() {
    let home = tempfile::tempdir().unwrap();
    for (shell, parse, complete, completed) in SHELLS {
        let Some(program) = require(shell) else {
            continue;
        };
        let script = home.path().join(shell);
        let mut completions = Command::new(env!("CARGO_BIN_EXE_ravelin"));
        std::fs::write(&script, run(completions.args(["completions", shell]))).unwrap();
        for (arguments, expected) in [(parse, ""), (complete, completed)] {
            let mut command = Command::new(&program);
            command.env("HOME", home.path()).args(arguments);
            assert_eq!(run(command.arg(&script)), expected, "{shell} {arguments:?}");
        }
    }
}
