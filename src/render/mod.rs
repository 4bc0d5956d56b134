//! Saying it: from verdicts and diagnosis to the report, and from the report to what people and programs read; pure.

pub mod human;
pub mod json;
pub mod paint;
pub mod report;

pub use human::Look;
