#![doc = include_str!("ARCHITECTURE.md")]

pub mod model;
pub mod sys;

pub mod probe;

pub mod check;

pub mod cause;

pub mod render;

pub mod cli;
pub mod command;
pub mod error;
pub mod exit;
