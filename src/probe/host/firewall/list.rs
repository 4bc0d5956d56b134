//! Running the tools that list rules. They only list: none is asked for a table that the kernel does not have already, for
//! `iptables-legacy` would make it.

use std::io;
use std::time::Instant;

use super::ipset::{self, Sets};
use super::rules::{Family, Source, Table, Unread};
use super::{iptables, nft as nft_rules};
use crate::model::text::head;
use crate::sys::files;
use crate::sys::program::{self, Outcome};

/// The right that it takes to see rules (`CAP_NET_ADMIN`), as a bit of `CapEff` in /proc/self/status.
const NET_ADMIN: u64 = 1 << 12;
/// How much of a complaint is repeated.
const MOST_COMPLAINT: usize = 200;

/// Why a tool's listing is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is not installed.
    Missing,
    /// Another reason, in words that name the tool.
    Says(String),
}

impl Failure {
    /// In words.
    pub fn says(self, tool: &str) -> String {
        match self {
            Self::Missing => format!("{tool} is not installed, so that its rules cannot be listed"),
            Self::Says(says) => says,
        }
    }
}

/// What iptables over nftables lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverNft {
    /// Its family.
    pub family: Family,
    /// The tables.
    pub tables: Vec<Table>,
    /// Names of tables that others have made, so that it cannot list them well.
    pub foreign: Vec<String>,
}

/// What the tools of one family list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The tables that iptables keeps over nftables.
    pub over_nft: Result<OverNft, Failure>,
    /// Those of iptables-legacy, or why they could not be read; `None` where the kernel has none.
    pub legacy: Option<Result<Vec<Table>, String>>,
}

impl Listed {
    /// True if there is no tool to list with.
    pub fn is_missing(&self) -> bool {
        self.over_nft == Err(Failure::Missing)
    }
}

/// True unless we certainly lack the right to list rules.
pub fn may_list() -> bool {
    let Ok(status) = files::read_text("/proc/self/status") else { return true };
    let rights = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    rights.is_none_or(|rights| rights & NET_ADMIN != 0)
}

/// What `nft` lists.
pub async fn nft(deadline: Instant) -> Result<Vec<Table>, Failure> {
    if kernel_lacks("nf_tables") {
        return Ok(Vec::new());
    }
    let text = listing("nft", &["-j", "list", "ruleset"], deadline).await?;
    let tables = nft_rules::parse(&text);
    let mut tables = tables.map_err(|says| Failure::Says(format!("what nft lists cannot be read: {says}")))?;
    if nft_rules::is_unsettled(&tables)
        && let Ok(printed) = listing("nft", &["--debug=netlink", "list", "ruleset"], deadline).await
    {
        nft_rules::settle(&mut tables, &printed);
    }
    Ok(tables)
}

/// What the iptables of one family lists, over nftables and legacy.
pub async fn iptables(family: Family, deadline: Instant) -> Listed {
    let names = if family == Family::Ip { Names::V4 } else { Names::V6 };
    let (current, legacy) = tokio::join!(first(names.current(), deadline), async {
        match names.legacy_tables() {
            Ok(tables) if tables.is_empty() => None,
            Ok(tables) => Some(Ok((first(names.legacy(), deadline).await, tables))),
            Err(says) => Some(Err(says)),
        }
    });
    let texts = [current.as_ref().ok(), legacy.as_ref().and_then(|legacy| legacy.as_ref().ok()?.0.as_ref().ok())];
    let sets = sets(texts.into_iter().flatten().map(|(_, text)| text.as_str()), deadline).await;
    // A plain `iptables-save` may be of either kind, and says which.
    let (over_nft, other_legacy) = match current {
        Ok((tool, text)) if is_legacy(tool, &text) => (Err(Failure::Missing), Some((tool, text))),
        Ok((tool, text)) => (over_nft(tool, &text, family, &sets), None),
        Err(failure) => (Err(failure), None),
    };
    let legacy = legacy.map(|legacy| {
        let (listing, tables) = legacy?;
        let listing = match (listing, other_legacy) {
            (Err(Failure::Missing), Some(other)) => Ok(other),
            (listing, _) => listing,
        };
        let (tool, text) = listing.map_err(|failure| failure.says(names.legacy()[0]))?;
        legacy_tables((tool, &text), family, &tables, &sets)
    });
    Listed { over_nft, legacy }
}

/// The rules beside IP that the kernel shows to be there. They are not listed: their tools would make what they ask for.
pub fn beside() -> Vec<Unread> {
    let arp = files::read_text("/proc/net/arp_tables_names").unwrap_or_default();
    let modules = files::read_text("/proc/modules").unwrap_or_default();
    let bridges = || !files::matching("/sys/class/net/*/bridge", 1).is_empty();
    let arp = arp.lines().next().map(|name| {
        let says = format!("the kernel has its table {}", crate::model::escape(name.as_bytes()));
        Unread { source: Source::ArptablesLegacy, says }
    });
    let bridged = in_use(&modules, "ebtable_").filter(|_| bridges()).map(|module| {
        let says = format!("the kernel's {} is in use", crate::model::escape(module.as_bytes()));
        Unread { source: Source::EbtablesLegacy, says }
    });
    arp.into_iter().chain(bridged).collect()
}

/// The first module of this name that somebody uses (`name size users …`, proc(5)): a table of ebtables that has rules holds
/// its module.
fn in_use<'a>(modules: &'a str, prefix: &str) -> Option<&'a str> {
    modules.lines().find_map(|line| {
        let mut words = line.split(' ');
        let name = words.next().filter(|name| name.starts_with(prefix))?;
        (words.nth(1)?.parse::<u32>().ok()? > 0).then_some(name)
    })
}

/// The sets that these rules look something up in. They are only asked for where rules do, for asking might load a module.
async fn sets(rules: impl Iterator<Item = &str> + Clone, deadline: Instant) -> Sets {
    let mut looking = rules.clone();
    // What packets add to a set is not what was listed.
    let mut adding = rules;
    if !looking.any(|text| text.contains("--match-set")) || adding.any(|text| text.contains("-j SET ")) {
        return Sets::default();
    }
    listing("ipset", &["save"], deadline).await.map(|text| ipset::parse(&text)).unwrap_or_default()
}

fn over_nft(tool: &str, text: &str, family: Family, sets: &Sets) -> Result<OverNft, Failure> {
    let strange = |says| Failure::Says(format!("what {tool} lists cannot be read: {says}"));
    let tables = iptables::parse_with(text, Source::Iptables, family, sets).map_err(strange)?;
    // "# Table `filter' is incompatible, use 'nft' tool."
    let foreign = |line: &str| {
        let (name, rest) = line.strip_prefix("# Table `")?.split_once('\'')?;
        rest.contains("incompatible").then(|| name.to_owned())
    };
    Ok(OverNft { family, tables, foreign: text.lines().filter_map(foreign).collect() })
}

/// The tables must be those that the kernel names: a tool that shows fewer has not told all.
fn legacy_tables(
    (tool, text): (&str, &str),
    family: Family,
    named: &[String],
    sets: &Sets,
) -> Result<Vec<Table>, String> {
    let tables = iptables::parse_with(text, Source::IptablesLegacy, family, sets)
        .map_err(|says| format!("what {tool} lists cannot be read: {says}"))?;
    match named.iter().find(|name| !tables.iter().any(|table| table.name == **name)) {
        Some(name) => Err(format!("{tool} does not list the table {name}, which the kernel has")),
        None => Ok(tables),
    }
}

/// `# Generated by iptables-save v1.8.9 (nf_tables) on …`; 1.8.2 says `xtables-save`. An empty listing may be of either.
fn is_legacy(tool: &str, text: &str) -> bool {
    let header = text.lines().find(|line| line.starts_with("# Generated by "));
    !tool.contains("-nft-")
        && header.is_some_and(|line| !line.contains("(nf_tables)") && !line.contains("xtables-save"))
}

/// What differs between the families.
#[derive(Clone, Copy)]
enum Names {
    V4,
    V6,
}

impl Names {
    fn current(self) -> [&'static str; 2] {
        match self {
            Self::V4 => ["iptables-nft-save", "iptables-save"],
            Self::V6 => ["ip6tables-nft-save", "ip6tables-save"],
        }
    }

    fn legacy(self) -> [&'static str; 1] {
        match self {
            Self::V4 => ["iptables-legacy-save"],
            Self::V6 => ["ip6tables-legacy-save"],
        }
    }

    /// The legacy tables of this network namespace. The kernel has the file as soon as it has such tables at all.
    fn legacy_tables(self) -> Result<Vec<String>, String> {
        let path = match self {
            Self::V4 => "/proc/net/ip_tables_names",
            Self::V6 => "/proc/net/ip6_tables_names",
        };
        match files::read_text(path) {
            Ok(names) => Ok(names.lines().map(|name| crate::model::escape(name.as_bytes())).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }
}

/// The listing of the first of these tools that is installed.
async fn first<const N: usize>(tools: [&'static str; N], deadline: Instant) -> Result<(&'static str, String), Failure> {
    for tool in tools {
        match listing(tool, &["-c"], deadline).await {
            Err(Failure::Missing) => {}
            listing => return listing.map(|text| (tool, text)),
        }
    }
    Err(Failure::Missing)
}

/// What a tool prints, if it does so in time and says that all is well.
async fn listing(tool: &str, args: &[&str], deadline: Instant) -> Result<String, Failure> {
    let says = match program::run(tool, args, deadline).await {
        Outcome::NotFound => return Err(Failure::Missing),
        Outcome::Ended(ended) if ended.code == Some(0) => {
            return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
        }
        Outcome::Ended(ended) => {
            let complaint = ended.stderr.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
            let complaint = complaint.map_or_else(String::new, |line| format!(": {}", head(line, MOST_COMPLAINT)));
            match (ended.code, ended.signal) {
                (Some(code), _) => format!("{tool} ended with exit code {code}{complaint}"),
                (None, signal) => format!("{tool} was ended by signal {}{complaint}", signal.unwrap_or_default()),
            }
        }
        Outcome::Denied(error) => format!("{tool} cannot be run: {error}"),
        Outcome::TimedOut => format!("{tool} had not answered when its time was up"),
        Outcome::TooMuch => format!("{tool} prints more than can be read"),
    };
    Err(Failure::Says(says))
}

/// True if the kernel certainly has no such module: then there is nothing to list, and asking might load it.
fn kernel_lacks(module: &str) -> bool {
    let (Ok(loaded), Ok(release)) = (files::read_text("/proc/modules"), files::read_text("/proc/sys/kernel/osrelease"))
    else {
        return false;
    };
    let Ok(built_in) = files::read_text(&format!("/lib/modules/{}/modules.builtin", release.trim())) else {
        return false;
    };
    lacks(&loaded, &built_in, module)
}

fn lacks(loaded: &str, built_in: &str, module: &str) -> bool {
    let is_loaded = loaded.lines().any(|line| line.split(' ').next() == Some(module));
    let is_built_in = built_in.lines().any(|line| line.rsplit('/').next() == Some(&format!("{module}.ko")));
    !loaded.is_empty() && !built_in.is_empty() && !is_loaded && !is_built_in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_kind_of_a_listing() {
        let header = |by: &str| format!("# Generated by {by} on Sat Nov 21 07:13:33 2026\n*filter\n");
        for (tool, by, legacy) in [
            ("iptables-save", "iptables-save v1.8.9 (nf_tables)", false),
            ("iptables-save", "xtables-save v1.8.2", false),
            ("iptables-save", "iptables-save v1.8.9", true),
            ("iptables-save", "iptables-save v1.4.21", true),
            ("iptables-nft-save", "iptables-save v1.8.3", false),
        ] {
            assert_eq!(is_legacy(tool, &header(by)), legacy, "{by}");
        }
        assert!(!is_legacy("iptables-save", ""));
    }

    #[test]
    fn knows_tables_that_others_made() {
        let text = "# Table `nat' contains incompatible base-chains, use 'nft' tool to list them.\n\
                    # Table `filter' is incompatible, use 'nft' tool.\n# Generated\n";
        let listed = over_nft("iptables-nft-save", text, Family::Ip, &Sets::default()).unwrap();
        assert_eq!((listed.foreign, listed.tables.len()), (vec!["nat".to_owned(), "filter".to_owned()], 0));
    }

    #[test]
    fn a_legacy_listing_tells_of_all_tables_of_the_kernel() {
        let text = "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n";
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            legacy_tables(("iptables-legacy-save", text), Family::Ip, &names, &Sets::default())
        };
        assert!(of(&["filter"]).is_ok());
        assert_eq!(of(&["nat"]).unwrap_err(), "iptables-legacy-save does not list the table nat, which the kernel has");
    }

    #[test]
    fn rules_of_a_bridge_hold_their_module() {
        let modules = |users| {
            format!("veth 1 9 - Live 0x0\nebtables 3 1 ebtable_nat, Live 0x0\nebtable_nat 1 {users} - Live 0x0\n")
        };
        assert_eq!(in_use(&modules(1), "ebtable_"), Some("ebtable_nat"));
        assert_eq!(in_use(&modules(0), "ebtable_"), None);
    }

    #[test]
    fn a_kernel_without_nftables_is_told_from_one_that_does_not_say() {
        let (loaded, built_in) = ("veth 1 0 - Live 0x0\nnf_tables_set 1 0\n", "kernel/net/ipv6/ipv6.ko\n");
        assert!(lacks(loaded, built_in, "nf_tables"));
        assert!(!lacks("nf_tables 1 0 - Live 0x0\n", built_in, "nf_tables"));
        assert!(!lacks(loaded, "kernel/net/netfilter/nf_tables.ko\n", "nf_tables"));
        assert!(!lacks("", built_in, "nf_tables") && !lacks(loaded, "", "nf_tables"));
    }
}
