
pub mod words;
