//! The command line exactly as it is typed: redis-cli's names for what redis-cli has, always. What it asks for, once
//! files, the environment and the terminal have been read, is made of it in [`request`].

pub mod parse;
pub mod request;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::check::CHECKS;
use crate::model::FailOn;
use crate::model::target::Level;

pub use parse::{Refusal, parse, usage_report, wants_json};
pub use request::{Request, Show};

/// A doctor for Redis connectivity: names the one cause, shows the evidence, prints the repair
#[derive(Parser)]
#[command(name = "redisdoc", version, arg_required_else_help = true, disable_help_flag = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Print help
    #[arg(long, global = true, action = ArgAction::Help)]
    help: Option<bool>,
}

/// The subcommands. Only the one that was typed is built, and says of itself what is said here.
#[derive(Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Diagnose the connection to a Redis server
    Check(Box<CheckArgs>),
    /// Run on the Redis host: save what that machine shows, without secrets, for check --host-facts
    Collect(CollectArgs),
    /// Diagnose saved facts, touching nothing
    Replay(ReplayArgs),
    /// Explain a cause or a finding: what it means, how to be sure, how to repair it
    Explain {
        /// The id of a cause or the code of a finding
        id: String,
    },
    /// List the causes or the checks
    List(ListArgs),
    /// Print the JSON Schema of the report
    Schema,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Diagnose the connection to a Redis server
#[derive(Args)]
pub struct CheckArgs {
    /// The target.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The terms of the run.
    #[command(flatten)]
    pub run: RunArgs,
    /// How to say it.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// What names the target.
#[derive(Args)]
#[command(next_help_heading = "Target")]
#[expect(clippy::struct_excessive_bools, reason = "flags as they are typed")]
pub struct TargetArgs {
    /// The target.
    // A list, so that a second one, which may hold a password, is refused by us and not repeated by the parser.
    #[arg(value_name = "TARGET")]
    #[arg(help = "host[:port], redis://…, rediss://… or unix:///path [default: 127.0.0.1:6379]")]
    pub targets: Vec<String>,
    /// Server host; alone at the end it prints help
    #[arg(short = 'h', long, value_name = "HOST")]
    pub host: Option<String>,
    /// Server port
    #[arg(short, long, value_name = "PORT", allow_negative_numbers = true)]
    pub port: Option<String>,
    /// Unix socket, instead of host and port
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<String>,
    /// Server URI, as redis://user:password@host:port/db
    #[arg(short, long, value_name = "URI")]
    pub uri: Option<String>,
    /// Database index
    #[arg(short = 'n', long, value_name = "INDEX", allow_negative_numbers = true)]
    pub db: Option<String>,
    /// ACL user
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The password.
    #[arg(help = "Password; better given with --askpass, --pass-file or REDISCLI_AUTH")]
    #[arg(short = 'a', long, value_name = "PASSWORD", allow_hyphen_values = true)]
    pub pass: Option<String>,
    /// Ask for the password on the terminal
    #[arg(long)]
    pub askpass: bool,
    /// Read the password from a file, or from standard input if it is -
    #[arg(long, value_name = "FILE|-")]
    pub pass_file: Option<String>,
    /// Use TLS
    #[arg(long)]
    pub tls: bool,
    /// Server name for TLS, where it differs from the host: it is sent, and the certificate has to be valid for it
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// The certificates of the authorities to trust, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<String>,
    /// A folder with such files, as openssl rehash names them
    #[arg(long, value_name = "DIR")]
    pub cacertdir: Option<String>,
    /// Our own certificate, for servers that ask for one
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<String>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<String>,
    /// Go on with a certificate that is not trusted
    #[arg(long)]
    pub insecure: bool,
    /// Use IPv4 only
    #[arg(short = '4', conflicts_with = "v6")]
    pub v4: bool,
    /// Use IPv6 only
    #[arg(short = '6')]
    pub v6: bool,
    /// Insist on RESP3
    #[arg(short = '3')]
    pub resp3: bool,
    /// A key the application uses, looked at with EXISTS
    #[arg(long, value_name = "KEY")]
    pub exists: Option<String>,
    /// Whether to read the environment's settings.
    #[arg(long, help = "Read the application's settings (REDIS_URL, REDIS_HOST …) from the environment")]
    pub env: bool,
    /// Read the application's settings from a .env file
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<String>,
}

/// The terms of a run.
#[derive(Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// The longest a single step may take
    #[arg(short, long, value_name = "SECONDS", default_value = "5", value_parser = parse::milliseconds)]
    #[arg(allow_negative_numbers = true)]
    pub timeout: u64,
    /// The longest the whole run may take
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse::milliseconds)]
    #[arg(allow_negative_numbers = true)]
    pub deadline: u64,
    /// Hold a connection without a word for so long, and see whether it still works; on top of --deadline
    #[arg(long, value_name = "SECONDS", value_parser = parse::milliseconds)]
    #[arg(allow_negative_numbers = true)]
    pub hold: Option<u64>,
    /// Look at everything, even if all is well
    #[arg(long)]
    pub deep: bool,
    /// Do not ask in another way, over a connection more, about what failed
    #[arg(long)]
    pub no_counter_probe: bool,
    /// What `redisdoc collect` saw on the server's machine, or - for standard input
    #[arg(long, value_name = "FILE|-")]
    pub host_facts: Option<String>,
    /// The redis.conf to judge by, where redisdoc does not find the right one
    #[arg(long, value_name = "FILE")]
    pub redis_conf: Option<String>,
    /// The checks to run
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = check_ids())]
    pub only: Vec<String>,
    /// The checks to leave out
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_parser = check_ids())]
    pub skip: Vec<String>,
    /// How far the connection must get
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t)]
    pub require: Level,
    /// The severity that makes the exit code 1
    #[arg(long, value_name = "SEVERITY", value_enum, default_value_t)]
    pub fail_on: FailOn,
}

/// How to say what was found.
#[derive(Args)]
#[command(next_help_heading = "Show")]
pub struct ShowArgs {
    /// The reports to write.
    #[arg(short, long = "output", value_name = "FORMAT[=FILE]", value_parser = parse::output)]
    #[arg(
        help = "Write a report in this format (human, json, or facts for replay), to standard output or a file; repeatable"
    )]
    pub outputs: Vec<Output>,
    /// The same as -o json
    #[arg(long)]
    pub json: bool,
    /// Say only what is wrong
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more; twice for everything
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,
    /// Use ASCII only
    #[arg(long)]
    pub ascii: bool,
}

/// Run on the Redis host: save what that machine shows, without secrets, for check --host-facts
#[derive(Args)]
pub struct CollectArgs {
    /// The file to write; standard output if there is none
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The redis.conf to save, where redisdoc does not find the right one
    #[arg(long, value_name = "FILE")]
    pub redis_conf: Option<String>,
}

/// Diagnose saved facts, touching nothing
#[derive(Args)]
pub struct ReplayArgs {
    /// The file of saved facts, or - for standard input
    #[arg(value_name = "FACTS|-")]
    pub facts: String,
    /// How to say it.
    #[command(flatten)]
    pub show: ShowArgs,
}

/// List the causes or the checks
#[derive(Args)]
pub struct ListArgs {
    /// What to list
    #[arg(value_enum)]
    pub what: Listed,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listed {
    /// The causes.
    Causes,
    /// The checks, with the codes of their findings.
    Checks,
}

/// One report that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its format.
    pub format: Format,
    /// Where to write it; standard output if not to a file.
    pub file: Option<PathBuf>,
}

/// The formats of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
    /// The facts themselves, for `replay`.
    Facts,
}

fn check_ids() -> PossibleValuesParser {
    PossibleValuesParser::new(CHECKS.iter().map(|check| check.id))
}
