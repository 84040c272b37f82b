//! The server's half of the answers.

use gk_proto::acl;
use gk_proto::answer::Answer;
use gk_proto::jute::Write as _;
use gk_proto::multi::{self, ReadOutcome};
use gk_proto::op::OpCode;
use gk_proto::reply::{self, Body};
use gk_proto::stat::Stat;

/// The body of a reply. Those to writes have an encoder; those to reads a server encodes straight from its tree, in the
/// same calls as here.
pub(crate) fn encoded(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    match answer.clone() {
        Answer::None => Body::None.encode(&mut out),
        Answer::Path(path) => Body::Path(path).encode(&mut out),
        Answer::PathStat(path, stat) => Body::PathStat(path, stat).encode(&mut out),
        Answer::Stat(stat) => Body::Stat(stat).encode(&mut out),
        Answer::Sync(path) => Body::Sync(path).encode(&mut out),
        Answer::Multi(outcomes) => Body::Multi(outcomes).encode(&mut out),
        Answer::Data(data, stat) => put_data(data.as_deref(), &stat, &mut out),
        Answer::Children(names) | Answer::Paths(names) => put_texts(&names, &mut out),
        Answer::ChildrenStat(names, stat) => {
            put_texts(&names, &mut out);
            stat.encode(&mut out);
        }
        Answer::Acl(list, stat) => {
            acl::encode(&list, &mut out);
            stat.encode(&mut out);
        }
        Answer::Number(count) => out.put_int(count),
        Answer::ClientInfo(infos) => {
            out.put_count(infos.len());
            for info in infos {
                out.put_text(&info.scheme);
                out.put_text(&info.user);
            }
        }
        Answer::MultiRead(outcomes) => put_reads(&outcomes, &mut out),
        Answer::Token(token) => out.put_buffer(token.as_deref()),
    }
    out
}

fn put_data(data: Option<&[u8]>, stat: &Stat, out: &mut Vec<u8>) {
    out.put_buffer(data);
    stat.encode(out);
}

fn put_texts(texts: &[String], out: &mut Vec<u8>) {
    out.put_count(texts.len());
    for text in texts {
        out.put_text(text);
    }
}

fn put_reads(outcomes: &[ReadOutcome], out: &mut Vec<u8>) {
    for outcome in outcomes {
        match outcome {
            ReadOutcome::Data(data, stat) => {
                multi::encode_header(OpCode::GetData.code(), false, 0, out);
                put_data(data.as_deref(), stat, out);
            }
            ReadOutcome::Children(names) => {
                multi::encode_header(OpCode::GetChildren.code(), false, 0, out);
                put_texts(names, out);
            }
            ReadOutcome::Error(code) => reply::encode_multi_error(*code, out),
            ReadOutcome::UnknownError(code) => {
                multi::encode_header(-1, false, *code, out);
                out.put_int(*code);
            }
        }
    }
    multi::encode_end(out);
}
