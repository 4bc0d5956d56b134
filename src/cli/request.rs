//! What the command line asks for: the terms, the password apart from them, and how to say the result. Reading the
//! environment, files and the terminal happens here, through `sys`; what it all means is `model/target/resolve.rs`.

use std::io;
use std::time::Duration;

use clap::ColorChoice;

use super::{CheckArgs, Format, Output, ShowArgs, TargetArgs};
use crate::check::CHECKS;
use crate::error::Error;
use crate::model::target::Certificates;
use crate::model::target::dotenv::{self, Setting};
use crate::model::target::resolve::{Said, Settings, resolve};
use crate::model::target::settings;
use crate::model::{Ask, Family, Secret, escape};
use crate::sys::tls::Material;
use crate::sys::{environment, files, terminal};

/// Redis-cli's own words.
const AUTH_WARNING: &str =
    "Warning: Using a password with '-a' or '-u' option on the command line interface may not be safe.";

/// Everything a check needs.
#[derive(Debug)]
pub struct Request {
    /// The terms.
    pub ask: Ask,
    /// The password.
    pub password: Option<Secret>,
    /// The certificates that were named.
    pub material: Material,
    /// The facts that were collected on the target's machine: the file, or `-`.
    pub host_facts: Option<String>,
    /// How to say the result.
    pub show: Show,
    /// What to say on standard error before anything else.
    pub warnings: Vec<&'static str>,
}

/// How to say the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Show {
    /// The reports; at most one of them on standard output.
    pub outputs: Vec<Output>,
    /// Say only what is wrong.
    pub quiet: bool,
    /// Say more.
    pub verbose: u8,
    /// When to use colour.
    pub color: ColorChoice,
    /// Use ASCII only.
    pub ascii: bool,
}

impl CheckArgs {
    /// Reads what the flags refer to, and makes the request of it all.
    ///
    /// # Errors
    /// Bad usage, or a file that cannot be read. A malformed target is none: the target itself carries complaints.
    pub fn request(self) -> Result<Request, Error> {
        let show = self.show.show()?;
        let patience = Duration::from_millis(self.run.deadline);
        let warnings = warnings(&self.target);
        if self.run.host_facts.as_deref() == Some("-") && self.target.pass_file.as_deref() == Some("-") {
            let text = "--host-facts and --pass-file cannot both read standard input";
            return Err(Error::Usage(text.to_owned()));
        }
        let said = said(self.target, patience)?;
        let (target, password) = resolve(&said);
        let material = if target.tls { material(&target.certificates, patience)? } else { Material::default() };
        let ask = Ask {
            target,
            require: self.run.require,
            fail_on: self.run.fail_on,
            timeout_ms: self.run.timeout,
            deadline_ms: self.run.deadline,
            hold_ms: self.run.hold,
            deep: self.run.deep,
            no_counter_probe: self.run.no_counter_probe,
            redis_conf: self.run.redis_conf,
            only: self.run.only,
            skip: self.run.skip,
        };
        if !CHECKS.iter().any(|check| ask.wants(check.id)) {
            return Err(Error::Usage("--only and --skip leave no check to run".to_owned()));
        }
        Ok(Request { ask, password, material, host_facts: self.run.host_facts, show, warnings })
    }
}

impl ShowArgs {
    /// How to say the result: for people on standard output, unless something else was asked for.
    ///
    /// # Errors
    /// Bad usage: two reports on standard output.
    pub fn show(self) -> Result<Show, Error> {
        let json = self.json.then_some(Output { format: Format::Json, file: None });
        let mut outputs: Vec<Output> = Vec::new();
        for output in self.outputs.into_iter().chain(json) {
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        if outputs.is_empty() {
            outputs.push(Output { format: Format::Human, file: None });
        }
        if outputs.iter().filter(|output| output.file.is_none()).count() > 1 {
            return Err(Error::Usage(
                "only one report fits standard output: give the other a file, -o FORMAT=FILE".into(),
            ));
        }
        Ok(Show { outputs, quiet: self.quiet, verbose: self.verbose, color: self.color, ascii: self.ascii })
    }
}

fn warnings(args: &TargetArgs) -> Vec<&'static str> {
    let has_password = |uri: &String| {
        let said = Said { uri: Some(Secret::new(uri)), ..Said::default() };
        resolve(&said).0.password
    };
    let typed = args.pass.is_some() || args.uri.iter().chain(args.targets.iter()).any(has_password);
    typed.then_some(AUTH_WARNING).into_iter().collect()
}

fn said(args: TargetArgs, patience: Duration) -> Result<Said, Error> {
    let mut targets = args.targets.into_iter();
    let argument = targets.next().map(Secret::new);
    if targets.next().is_some() {
        return Err(Error::Usage("one TARGET at a time".to_owned()));
    }
    let passwords = passwords(args.askpass, args.pass_file.as_deref(), args.pass, patience)?;
    let mut found = Vec::new();
    if args.env {
        found.push(from_environment());
    }
    if let Some(file) = &args.env_file {
        found.push(from_file(file, patience)?);
    }
    Ok(Said {
        argument,
        uri: args.uri.map(Secret::new),
        host: args.host,
        port: args.port,
        socket: args.socket,
        db: args.db,
        user: args.user,
        tls: args.tls,
        sni: args.sni,
        certificates: Certificates {
            cacert: args.cacert,
            cacertdir: args.cacertdir,
            cert: args.cert,
            key: args.key,
            insecure: args.insecure,
        },
        family: if args.v4 { Some(Family::V4) } else { args.v6.then_some(Family::V6) },
        resp3: args.resp3,
        key: args.exists,
        passwords,
        settings: found,
        rediscli_auth: environment::variable("REDISCLI_AUTH").map(Secret::new),
    })
}

/// The certificates and the key of the files that were named.
fn material(named: &Certificates, patience: Duration) -> Result<Material, Error> {
    let (mut authorities, mut unloadable) = (Vec::new(), None);
    if let Some(path) = &named.cacert {
        let bundle = Material::trusted(path, patience).map_err(|source| unreadable(path, source))?;
        authorities.extend(bundle.certificates);
        unloadable = bundle.unloadable.map(|why| format!("{path}: {why}"));
    }
    if let Some(path) = &named.cacertdir {
        authorities.extend(Material::certificates_in(path).map_err(|source| unreadable(path, source))?);
    }
    let identity = match (&named.cert, &named.key) {
        (Some(cert), Some(key)) => {
            let identity = Material::identity(cert, key, patience);
            Some(identity.map_err(|(path, source)| unreadable(&path, source))?)
        }
        _ => None,
    };
    let of_the_system = named.cacert.is_none() && named.cacertdir.is_none();
    let authorities = (!of_the_system).then_some(authorities);
    Ok(Material { authorities, in_order: named.cacertdir.is_none() && !of_the_system, unloadable, identity })
}

/// The passwords of the command line, in order of precedence.
fn passwords(
    ask: bool,
    file: Option<&str>,
    typed: Option<String>,
    patience: Duration,
) -> Result<Vec<(String, Secret)>, Error> {
    let mut passwords = Vec::new();
    if ask {
        let answer = terminal::ask_hidden("password: ").map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => Error::Usage("--askpass was interrupted".to_owned()),
            _ => Error::Usage(format!("--askpass cannot ask without a terminal: {error}")),
        })?;
        passwords.push(("askpass".to_owned(), Secret::new(answer)));
    }
    if let Some(path) = file {
        let (text, by) = match path {
            "-" => (files::read_stdin(patience), "standard input".to_owned()),
            path => (files::read_given(path, patience), format!("file {}", escape(path.as_bytes()))),
        };
        let text = text.map_err(|source| unreadable(path, source))?;
        passwords.push((by, Secret::new(without_line_end(&text))));
    }
    if let Some(password) = typed {
        passwords.push(("flag".to_owned(), Secret::new(password)));
    }
    Ok(passwords)
}

fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn unreadable(path: &str, source: io::Error) -> Error {
    let path = if path == "-" { "standard input".to_owned() } else { escape(path.as_bytes()) };
    Error::Unreadable { path, source }
}

fn from_environment() -> Settings {
    let setting = |name: &str| {
        let value = Secret::new(environment::variable(name)?);
        Some(Setting { name: name.to_owned(), value, origin: format!("env {name}") })
    };
    let found = settings::names().filter_map(setting).collect();
    Settings { place: "environment".to_owned(), found, complaints: Vec::new() }
}

fn from_file(path: &str, patience: Duration) -> Result<Settings, Error> {
    let text = files::read_given(path, patience).map_err(|source| unreadable(path, source))?;
    let (found, complaints) = dotenv::parse(path, &text, &settings::is_name);
    Ok(Settings { place: escape(path.as_bytes()), found, complaints })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse};
    use crate::model::target::Part;

    fn request(line: &[&str]) -> Result<Request, Error> {
        let words: Vec<_> = ["redisdoc", "check"].iter().chain(line).map(Into::into).collect();
        match parse(&words).unwrap_or_else(|refusal| panic!("{}", refusal.text)).command {
            Command::Check(args) => args.request(),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn makes_the_terms_of_the_flags() {
        let request =
            request(&["db:7000", "-t", "1.5", "--skip", "dns", "--deep", "-6", "-3", "--exists", "k"]).unwrap();
        let ask = request.ask;
        assert_eq!((ask.target.place().as_str(), ask.timeout_ms, ask.deep), ("db:7000", 1500, true));
        assert_eq!((ask.target.family, ask.target.resp3, ask.target.key.as_deref()), (Family::V6, true, Some("k")));
        assert_eq!((ask.skip, request.warnings), (vec!["dns".to_owned()], Vec::new()));
        assert_eq!(request.show.outputs, [Output { format: Format::Human, file: None }]);
    }

    #[test]
    fn warns_of_passwords_on_the_command_line() {
        let warned = |line: &[&str]| request(line).unwrap().warnings.len();
        assert_eq!(warned(&["-a", "pw"]), 1);
        assert_eq!(warned(&["-u", "redis://:pw@db"]), 1);
        assert_eq!(warned(&["redis://:pw@db"]), 1);
        assert_eq!(warned(&["-u", "redis://db"]), 0);
    }

    #[test]
    fn a_malformed_target_is_no_error() {
        let request = request(&["-h", "redis://db", "-p", "x"]).unwrap();
        assert_eq!(request.ask.target.complaints.len(), 2);
    }

    #[test]
    fn one_report_fits_standard_output() {
        assert!(request(&["--json", "-o", "human"]).is_err());
        assert_eq!(request(&["-o", "json", "-o", "human=x", "--json"]).unwrap().show.outputs.len(), 2);
        assert_eq!(request(&["--json", "-o", "json"]).unwrap().show.outputs.len(), 1);
        assert_eq!(request(&["--json", "-o", "human=x"]).unwrap().show.outputs.len(), 2);
    }

    #[test]
    fn refuses_a_second_target_without_repeating_it() {
        let error = request(&["a", "redis://:marker@b"]).unwrap_err();
        assert!(!error.to_string().contains("marker"));
    }

    #[test]
    fn reads_password_and_settings_from_files() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (file, env) = (put("pass", "marker\n\n"), put(".env", "\nREDIS_URL=redis://db/2\r\n"));
        let request = request(&["--pass-file", &file, "-a", "no", "--env-file", &env]).unwrap();
        assert_eq!(request.password.as_ref().map(Secret::expose), Some("marker\n"));
        let given_by = &request.ask.target.given_by;
        assert_eq!(given_by[&Part::Password], format!("file {file}"));
        assert_eq!((request.ask.target.db, &given_by[&Part::Db]), (2, &format!("{env}:2 REDIS_URL")));
        assert!(!format!("{request:?}").contains("marker"));
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        for flag in ["--pass-file", "--env-file"] {
            for path in ["/nonexistent", "/", "/dev/zero"] {
                assert!(matches!(request(&[flag, path]), Err(Error::Unreadable { .. })), "{flag} {path}");
            }
        }
    }
}
