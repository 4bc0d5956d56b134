//! DNS messages: our questions, and what a stranger's bytes say in answer to one of them.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::answers::{Answer, Record};
use crate::model::escape;

/// The payload that fits any path without fragments (DNS flag day 2020).
const EDNS_PAYLOAD: u16 = 1232;
/// The most addresses that are kept of one answer.
const MOST_ADDRESSES: usize = 64;
/// The longest chain of aliases that is followed. Resolvers stop at 8 to 17.
const LONGEST_CHAIN: usize = 16;

/// A question with its id.
#[derive(Debug, Clone)]
pub struct Question {
    /// The id that the answer must carry.
    id: u16,
    name: Name,
    record: Record,
}

/// What bytes are in answer to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// The answer.
    Answer(Answer),
    /// The answer, but it did not fit (TC).
    Truncated,
    /// A DNS message, but not the answer to this question.
    Another,
    /// No DNS message.
    Garbage,
}

impl Question {
    /// The question for `record` of `name`; `None` if that is no name that DNS can carry.
    pub fn new(name: &str, record: Record) -> Option<Self> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        // A name read from a configuration may be longer than the wire takes; encoding tells.
        let question = Self { id: Message::query().metadata.id, name, record };
        question.encode(true).is_some().then_some(question)
    }

    /// The question as bytes, with EDNS or as RFC 1035 has it.
    pub fn encode(&self, edns: bool) -> Option<Vec<u8>> {
        let mut message = Message::query();
        message.metadata.id = self.id;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(self.name.clone(), self.record_type()));
        if edns {
            let mut options = Edns::new();
            options.set_max_payload(EDNS_PAYLOAD).set_version(0);
            message.set_edns(options);
        }
        message.to_vec().ok()
    }

    /// What `bytes` say in answer.
    pub fn read(&self, bytes: &[u8]) -> Reading {
        let Ok(message) = Message::from_vec(bytes) else { return Reading::Garbage };
        if message.metadata.id != self.id || message.metadata.message_type != MessageType::Response {
            return Reading::Another;
        }
        let failed = message.metadata.response_code != ResponseCode::NoError;
        let ours = message.queries.iter().any(|query| self.is(query));
        // A server that could not parse the question may leave it out (RFC 1035 section 4.1.1).
        let unparsed = failed && message.queries.is_empty();
        if !ours && !unparsed {
            return Reading::Another;
        }
        if message.metadata.truncation {
            return Reading::Truncated;
        }
        Reading::Answer(self.answer(&message))
    }

    fn is(&self, query: &Query) -> bool {
        query.name().eq_ignore_root(&self.name) && query.query_type() == self.record_type()
    }

    fn record_type(&self) -> RecordType {
        match self.record {
            Record::A => RecordType::A,
            Record::Aaaa => RecordType::AAAA,
        }
    }

    fn answer(&self, message: &Message) -> Answer {
        match message.metadata.response_code {
            ResponseCode::NoError => {
                let (end, aliases) = self.chain(message);
                let addresses = self.addresses_of(&end, message);
                if addresses.is_empty() { Answer::NoData { aliases } } else { Answer::Addresses { addresses, aliases } }
            }
            // The code is about the end of the chain (RFC 6604).
            ResponseCode::NXDomain => Answer::NxDomain { aliases: self.chain(message).1 },
            ResponseCode::ServFail => Answer::ServFail,
            ResponseCode::Refused => Answer::Refused,
            other => Answer::OtherCode(other.into()),
        }
    }

    fn chain(&self, message: &Message) -> (Name, Vec<String>) {
        let (mut end, mut aliases) = (self.name.clone(), Vec::new());
        while aliases.len() < LONGEST_CHAIN {
            let next = message.answers.iter().find_map(|record| match &record.data {
                RData::CNAME(alias) if record.name.eq_ignore_root(&end) => Some(alias.0.clone()),
                _ => None,
            });
            let Some(next) = next else { break };
            aliases.push(readable(&next));
            end = next;
        }
        (end, aliases)
    }

    fn addresses_of(&self, name: &Name, message: &Message) -> Vec<IpAddr> {
        let address = |data: &RData| match (data, self.record) {
            (RData::A(a), Record::A) => Some(IpAddr::V4(a.0)),
            (RData::AAAA(aaaa), Record::Aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        let of_name = message.answers.iter().filter(|record| record.name.eq_ignore_root(name));
        of_name.filter_map(|record| address(&record.data)).take(MOST_ADDRESSES).collect()
    }
}

fn readable(name: &Name) -> String {
    escape(name.to_ascii().trim_end_matches('.').as_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::rr::Record as Rr;
    use hickory_proto::rr::rdata::{A, CNAME};
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question::new("db.test", Record::A).unwrap()
    }

    fn reply(change: impl FnOnce(&mut Message)) -> Vec<u8> {
        let question = question();
        let mut message = Message::response(7, hickory_proto::op::OpCode::Query);
        message.add_query(Query::query(question.name.clone(), RecordType::A));
        change(&mut message);
        message.to_vec().unwrap()
    }

    fn with(records: &[Rr]) -> impl FnOnce(&mut Message) {
        let records = records.to_vec();
        move |message| message.insert_answers(records)
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Message), want: &Reading) {
        let question = Question { id: 7, ..question() };
        assert_eq!(&question.read(&reply(change)), want);
    }

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a(owner: &str, ip: [u8; 4]) -> Rr {
        Rr::from_rdata(name(owner), 60, RData::A(A(Ipv4Addr::from(ip))))
    }

    fn cname(owner: &str, target: &str) -> Rr {
        Rr::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    fn code(code: ResponseCode) -> impl FnOnce(&mut Message) {
        move |message| message.metadata.response_code = code
    }

    #[test]
    fn reads_answers() {
        let addresses = vec![[10, 0, 0, 9].into()];
        let aliases = vec!["x.test".to_owned()];
        let found = Reading::Answer(Answer::Addresses { addresses: addresses.clone(), aliases: vec![] });
        check(with(&[a("DB.test.", [10, 0, 0, 9]), a("evil.test.", [6, 6, 6, 6])]), &found);
        let chained = Reading::Answer(Answer::Addresses { addresses, aliases: aliases.clone() });
        check(with(&[cname("db.test.", "x.test."), a("x.test.", [10, 0, 0, 9])]), &chained);
        check(|_| {}, &Reading::Answer(Answer::NoData { aliases: vec![] }));
        let dangling = |m: &mut Message| {
            m.add_answer(cname("db.test.", "x.test."));
            m.metadata.response_code = ResponseCode::NXDomain;
        };
        check(dangling, &Reading::Answer(Answer::NxDomain { aliases }));
        check(code(ResponseCode::ServFail), &Reading::Answer(Answer::ServFail));
        check(code(ResponseCode::Refused), &Reading::Answer(Answer::Refused));
        check(code(ResponseCode::NotImp), &Reading::Answer(Answer::OtherCode(4)));
        check(|m| m.metadata.truncation = true, &Reading::Truncated);
    }

    #[test]
    fn takes_no_answer_to_another_question() {
        check(|m| m.metadata.id = 8, &Reading::Another);
        check(|m| m.metadata.message_type = MessageType::Query, &Reading::Another);
        check(|m| m.queries.clear(), &Reading::Another);
        check(|m| m.queries[0].set_name(name("other.test.")).query_type = RecordType::A, &Reading::Another);
        check(|m| m.queries[0].query_type = RecordType::AAAA, &Reading::Another);
        let unparsed = |m: &mut Message| {
            m.queries.clear();
            m.metadata.response_code = ResponseCode::FormErr;
        };
        check(unparsed, &Reading::Answer(Answer::OtherCode(1)));
        assert_eq!(question().read(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Reading::Garbage);
    }

    #[test]
    fn follows_no_endless_chain() {
        let circle = |m: &mut Message| {
            m.add_answer(cname("db.test.", "x.test.")).add_answer(cname("x.test.", "db.test."));
        };
        let question = Question { id: 7, ..question() };
        let Reading::Answer(Answer::NoData { aliases }) = question.read(&reply(circle)) else { panic!("no data") };
        assert_eq!(aliases.len(), LONGEST_CHAIN);
    }

    #[test]
    fn asks_only_what_dns_can_carry() {
        assert!(Question::new("db", Record::Aaaa).is_some());
        assert!(Question::new(&"a".repeat(64), Record::A).is_none());
        assert!(Question::new(&"a.".repeat(200), Record::A).is_none());
        assert!(Question::new("a..b", Record::A).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = question().read(&bytes);
        }

        #[test]
        fn no_damage_breaks_the_reader(at in 0usize..80, byte: u8, cut in 0usize..200) {
            let mut bytes = reply(with(&[cname("db.test.", "x.test."), a("x.test.", [1, 2, 3, 4])]));
            let end = bytes.len();
            bytes[at % end] = byte;
            bytes.truncate(cut.max(1).min(end));
            let _ = Question { id: 7, ..question() }.read(&bytes);
        }

        #[test]
        fn no_name_breaks_the_question(name in "\\PC*") {
            let _ = Question::new(&name, Record::A);
        }
    }
}
