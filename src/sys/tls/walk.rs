//! The way that OpenSSL takes from a server's certificate to an authority that signed itself (`build_chain` in `x509_vfy.c`).
//!
//! rustls tries all authorities that are trusted, and ends at the first whose name and key fit. OpenSSL takes one at each step, by
//! its name and what the certificate below says of its key: of those that are trusted the first of the file that is within its
//! time, and one that was sent only where there is none. It goes on to one that signed itself, and only then looks at signatures,
//! times and what each may do. What lies beside that way, it does not try.

use rustls::pki_types::CertificateDer;
use x509_parser::error::X509Error;
use x509_parser::extensions::{AuthorityKeyIdentifier, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use super::material::{Doubt, Known, unfit};
use super::verify::{MOST_NAMESAKES, TOO_LONG, is_short, is_subject};

/// The most steps that are followed.
const MOST: usize = 12;

/// Where OpenSSL stops, though the library trusts the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// The certificate that it stops at.
    pub certificate: CertificateDer<'static>,
    /// Why.
    pub why: Why,
}

/// Why it stops there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is trusted and did not sign itself, and who signed it is not trusted.
    Unrooted,
    /// It names a key or a number of its authority that none of that name has.
    NamesAnother,
    /// It did not sign the one below.
    AnotherKey,
    /// Its time is over, or has not come.
    OutOfTime,
    /// It may not sign others, or not so many.
    Unfit(&'static str),
}

/// One certificate of the way.
#[derive(Clone)]
struct Step<'a> {
    one: X509Certificate<'a>,
    /// The same as a trusted one, if it is.
    known: Option<&'a Known>,
}

/// The authority among those that are trusted where the way ends the chain that was sent, or where OpenSSL stops. Where the order
/// of the trusted ones is not that of the client's file, the one that fits best is taken.
pub(super) fn walk<'a>(
    sent: &[X509Certificate<'a>],
    known: &'a [Known],
    in_order: bool,
) -> Result<Option<&'a Known>, Stop> {
    let Some(leaf) = sent.first() else { return Ok(None) };
    let mut way = vec![Step { one: leaf.clone(), known: None }];
    loop {
        let last = &way[way.len() - 1];
        let is_end = last.known.is_some_and(|known| known.stands_alone || is_own(&last.one));
        if is_end {
            break;
        }
        let namesakes = namesakes(last, known);
        if way.len() == MOST || namesakes.len() > MOST_NAMESAKES {
            return Ok(None);
        }
        let next = trusted(&last.one, namesakes, in_order);
        let next = next.or_else(|| if last.known.is_some() { None } else { from(sent, &way) });
        match next {
            Some(next) => way.push(next),
            None if last.known.is_some() => return Err(last.stop(Why::Unrooted)),
            None => return Err(last.stop(Why::NamesAnother)),
        }
    }
    verified(&way, is_sole(&way, sent, known))?;
    Ok(way.iter().find_map(|step| step.known))
}

/// The trusted ones that have the name of the one that signed this; where none has it to the letter, those that have it in another
/// kind of text. Below those that are trusted the library has found the names to the letter.
fn namesakes<'a>(below: &Step, known: &'a [Known]) -> Vec<Step<'a>> {
    let parsed = |known: &'a Known| {
        let (_, one) = X509Certificate::from_der(&known.certificate).ok()?;
        Some(Step { one, known: Some(known) })
    };
    let name = below.one.issuer();
    let same: Vec<Step> = known.iter().filter(|known| is_subject(&known.anchor, name)).filter_map(parsed).collect();
    if !same.is_empty() || below.known.is_none() {
        return same;
    }
    known.iter().filter_map(parsed).filter(|step| is_same_name(step.one.subject(), name)).collect()
}

/// True for names that OpenSSL takes for the same (`X509_NAME_cmp`): whatever the kind of their text, upper or lower case, and with
/// as many spaces as there may be.
fn is_same_name(one: &X509Name, other: &X509Name) -> bool {
    let text = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let parts = |name: &X509Name| -> Vec<(String, Result<String, Vec<u8>>)> {
        let value =
            |attribute: &AttributeTypeAndValue| attribute.as_str().map(text).map_err(|_| attribute.as_slice().to_vec());
        name.iter_attributes().map(|attribute| (attribute.attr_type().to_id_string(), value(attribute))).collect()
    };
    one == other || parts(one) == parts(other)
}

/// The trusted one that OpenSSL takes for the one that signed this.
fn trusted<'a>(below: &X509Certificate, namesakes: Vec<Step<'a>>, in_order: bool) -> Option<Step<'a>> {
    let mut fitting: Vec<Step> = namesakes.into_iter().filter(|step| may_sign(&step.one, below)).collect();
    if !in_order {
        fitting.sort_by_key(|step| (!signs(&step.one, below), step.doubt().is_some(), !is_own(&step.one)));
    }
    first_in_time(fitting)
}

/// One that was sent, and is not on the way yet.
fn from<'a>(sent: &[X509Certificate<'a>], way: &[Step<'a>]) -> Option<Step<'a>> {
    let below = &way.last()?.one;
    if is_own(below) {
        return None;
    }
    let is_new = |one: &&X509Certificate| way.iter().all(|step| step.one.as_raw() != one.as_raw());
    let fits =
        |one: &&X509Certificate<'a>| is_same_name(one.subject(), below.issuer()) && may_sign(one, below) && is_new(one);
    first_in_time(sent.iter().filter(fits).map(|one| Step { one: one.clone(), known: None }).collect())
}

/// The first that is within its time; of others that which ends last.
fn first_in_time(steps: Vec<Step<'_>>) -> Option<Step<'_>> {
    let valid = steps.iter().find(|step| step.one.validity().is_valid()).cloned();
    valid.or_else(|| steps.into_iter().max_by_key(|step| step.one.validity().not_after.timestamp()))
}

/// True if there is no other way: then it is the one that the library has verified, up to the first that is trusted.
fn is_sole(way: &[Step<'_>], sent: &[X509Certificate], known: &[Known]) -> bool {
    let is_last = |at: usize| at + 1 == way.len();
    way.iter().enumerate().skip(1).all(|(at, step)| {
        let name = step.one.subject();
        let other = |one: &&X509Certificate| one.subject() == name && one.as_raw() != step.one.as_raw();
        let trusted = known.iter().filter(|known| is_subject(&known.anchor, name)).count();
        trusted == usize::from(is_last(at))
            && step.known.is_some() == is_last(at)
            && !sent.iter().any(|one| other(&one))
    })
}

/// What OpenSSL holds against the way, once it has it: what each may do first, then signatures and times from the top.
fn verified(way: &[Step<'_>], is_sole: bool) -> Result<(), Stop> {
    let mut between = 0;
    for step in &way[1..] {
        let constraints = step.one.basic_constraints().ok().flatten();
        let most = constraints.and_then(|constraints| constraints.value.path_len_constraint);
        if let Some(Doubt::Unfit(why)) = step.doubt() {
            return Err(step.stop(Why::Unfit(why)));
        }
        if most.is_some_and(|most| between > most) {
            return Err(step.stop(Why::Unfit(TOO_LONG)));
        }
        between += u32::from(step.one.subject() != step.one.issuer());
    }
    for pair in way.windows(2).rev() {
        let [below, step] = pair else { continue };
        if !step.one.validity().is_valid() {
            return Err(step.stop(Why::OutOfTime));
        }
        if !is_sole && !signs(&step.one, &below.one) {
            return Err(step.stop(Why::AnotherKey));
        }
    }
    Ok(())
}

impl Step<'_> {
    fn stop(&self, why: Why) -> Stop {
        Stop { certificate: CertificateDer::from(self.one.as_raw().to_vec()), why }
    }

    fn doubt(&self) -> Option<Doubt> {
        match self.known {
            Some(known) => known.doubt,
            None => unfit(&self.one, false).map(Doubt::Unfit),
        }
    }
}

/// True if it signed itself, as OpenSSL tells it (`EXFLAG_SS`): by the names and by what it says of its own key.
fn is_own(one: &X509Certificate) -> bool {
    is_same_name(one.subject(), one.issuer()) && may_sign(one, one)
}

/// True if it may have signed this, by all but the name and the signature (`X509_check_akid`, `check_sig_alg_match`).
fn may_sign(issuer: &X509Certificate, one: &X509Certificate) -> bool {
    let named = extension(one, |extension| match extension {
        ParsedExtension::AuthorityKeyIdentifier(named) => Some(named),
        _ => None,
    });
    let own = extension(issuer, |extension| match extension {
        ParsedExtension::SubjectKeyIdentifier(own) => Some(own.0),
        _ => None,
    });
    let is_named = named.is_none_or(|named| {
        let key = named.key_identifier.as_ref().map(|key| key.0);
        let number = |bytes: &'_ [u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
        let is_number = named.authority_cert_serial.is_none_or(|named| number(named) == number(issuer.raw_serial()));
        key.zip(own).is_none_or(|(named, own)| named == own) && is_number && is_of(named, issuer)
    });
    is_named
        && kind(one.signature_algorithm.algorithm.to_id_string())
            == kind(issuer.public_key().algorithm.algorithm.to_id_string())
}

/// True unless it names another than the one that signed `issuer`.
fn is_of(named: &AuthorityKeyIdentifier, issuer: &X509Certificate) -> bool {
    let names = named.authority_cert_issuer.as_deref().unwrap_or_default();
    let mut directory = names.iter().filter_map(|name| match name {
        GeneralName::DirectoryName(name) => Some(name),
        _ => None,
    });
    directory.next().is_none_or(|name| is_same_name(name, issuer.issuer()))
}

/// Of what kind a key or a signature is: the identifiers of RSA and of elliptic curves share their beginnings (RFC 3279).
fn kind(identifier: String) -> String {
    let kinds = ["1.2.840.113549.1.1.", "1.2.840.10045."];
    kinds.iter().find(|kind| identifier.starts_with(**kind)).map_or(identifier, |kind| (*kind).to_owned())
}

/// True if its key signed this, as far as our library can tell.
fn signs(issuer: &X509Certificate, one: &X509Certificate) -> bool {
    // A short key fails whatever it signed.
    one.verify_signature(Some(issuer.public_key())) != Err(X509Error::SignatureVerificationError) || is_short(issuer)
}

fn extension<'a, T>(one: &'a X509Certificate, wanted: impl Fn(&'a ParsedExtension<'a>) -> Option<T>) -> Option<T> {
    one.extensions().iter().find_map(|extension| wanted(extension.parsed_extension()))
}
