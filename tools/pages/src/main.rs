// SPDX-License-Identifier: GPL-2.0

//! `pages DIRECTORY`: the manual pages of the tools, and what completes their command lines in bash, as files there.

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::{
    roff::{bold, roman, Inline, Roff},
    Man,
};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A section of a page that the command line does not give.
struct Section {
    title: &'static str,
    /// Paragraphs. One that begins with a space is an example.
    text: &'static [&'static str],
}

const GHCBSTAT: &[Section] = &[
    Section {
        title: "KEYS",
        text: &[
            "v or Esc: a line for each guest. e: a line for each event. Up and Down: another line. Enter: the events of the guest in this \
             line. q: the end.",
        ],
    },
    Section {
        title: "COLUMNS",
        text: &[
            "RUST/s, C/s: exits that ghcb_rs or the C code of kvm_amd answers, each second. ERRORS/s: error replies, each second. EXITS, \
             ERRORS: the same since the guest or the module came. HALF IN, 99% IN: the time in the handler that half of the exits, or 99 in \
             100, do not exceed; known while the parameter timing of ghcb_rs is on. MOSTLY: the most frequent event.",
            "A guest has the name that QEMU (-name) or libvirt gave it.",
        ],
    },
    Section {
        title: "WHO MAY READ",
        text: &[
            "The files are root's: debugfs is, each file there is, those of a guest that comes later, too, and where the kernel is locked \
             down, nobody can give them away. Who is not root may read them with the capability CAP_DAC_READ_SEARCH, which also \
             reads any other file of the host: so give it to no user, but to a service that looks for a group.",
            " useradd --system --user-group ghcbstat",
            " cp /usr/share/doc/ghcb-rs-tools/examples/ghcbstat.* /etc/systemd/system/",
            " systemctl daemon-reload",
            " systemctl enable --now ghcbstat.timer",
            "It looks each 15 seconds. Members of the group ghcbstat then see it by",
            " ghcbstat --replay /run/ghcbstat/now.json --once",
            "and now.prom, beside it, is for Prometheus. The failures tell what guests had in their registers, and stay root's.",
            "Names of guests are shown to those who may see the VMM's command line.",
        ],
    },
    Section {
        title: "FILES",
        text: &["/sys/kernel/debug/ghcb_rs/: see ghcb_rs(4)."],
    },
    Section {
        title: "EXAMPLES",
        text: &[
            "For the textfile collector of Prometheus' node exporter:",
            " ghcbstat --prometheus --output /var/lib/prometheus/node-exporter/ghcb.prom",
            "A day, a look each ten seconds, and to see it again:",
            " ghcbstat --record day --interval 10 --count 8640 > /dev/null",
            " ghcbstat --replay day",
        ],
    },
    Section {
        title: "SEE ALSO",
        text: &["ghcb_rs(4), ghcb-check(8), kvm_stat(1)"],
    },
];

const GHCB_CHECK: &[Section] = &[
    Section {
        title: "OUTPUT",
        text: &[
            "A line for each precondition: good, note (it holds, and there is something to know), BAD, or ? (it could not be looked at); its \
             name, which does not change between versions; what was found. Below what is not good stands what to do. The last line is for \
             programs:",
            " ghcb-check: checks=17 good=16 note=0 bad=1 unknown=0 result=bad",
        ],
    },
    Section {
        title: "SEE ALSO",
        text: &["ghcb_rs(4), ghcbstat(8)"],
    },
];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let directory: PathBuf = arguments.next().context("usage: pages DIRECTORY")?.into();
    write(&directory, ghcbstat::cli::Arguments::command(), GHCBSTAT)?;
    write(
        &directory,
        ghcb_check::cli::Arguments::command(),
        GHCB_CHECK,
    )
}

/// Writes NAME.8 and NAME.bash.
fn write(directory: &Path, mut command: Command, sections: &[Section]) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let create = |name: String| {
        let path = directory.join(name);
        fs::File::create(&path).with_context(|| path.display().to_string())
    };
    let mut completion = create(format!("{name}.bash"))?;
    clap_complete::generate(Shell::Bash, &mut command, &name, &mut completion);

    let mut page = create(format!("{name}.8"))?;
    let man = Man::new(command.clone())
        .section("8")
        .manual("ghcb_rs")
        .source(format!("ghcb_rs {}", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    for subcommand in command
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        render_subcommand(subcommand, &mut page)?;
    }
    for section in sections {
        render_section(section, &mut page)?;
    }
    Ok(())
}

/// What clap's own section would refer to a page of its own.
fn render_subcommand(command: &Command, page: &mut impl Write) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    roff.control("TP", []);
    roff.text([bold(command.get_name())]);
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    roff.text([roman(about)]);
    for option in command
        .get_arguments()
        .filter(|option| !option.is_global_set() && option.get_id() != "help")
    {
        let (Some(long), Some(help)) = (option.get_long(), option.get_help()) else {
            continue;
        };
        roff.text([
            Inline::LineBreak,
            bold(format!("--{long}")),
            roman(format!(": {help}")),
        ]);
    }
    roff.to_writer(page)
}

fn render_section(section: &Section, page: &mut impl Write) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [section.title]);
    for paragraph in section.text {
        match paragraph.strip_prefix(' ') {
            None => roff.control("PP", []).text([roman(*paragraph)]),
            Some(example) => roff
                .control("RS", [])
                .control("nf", [])
                .text([roman(example)])
                .control("fi", [])
                .control("RE", []),
        };
    }
    roff.to_writer(page)
}
