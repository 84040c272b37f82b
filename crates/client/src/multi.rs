//! Several operations in one request.

use bytes::Bytes;
use gk_proto::ErrorCode;
use gk_proto::answer::Answer;
use gk_proto::multi::{Outcome, ReadOp, ReadOutcome};
use gk_proto::request::{Read, Write};
use gk_proto::stat::Stat;

use crate::client::{Client, misread};
use crate::core::{Failure, Request};
use crate::error::Error;
use crate::options::{CreateOptions, Created, Version};
use crate::pending::{Asked, Pending};

/// Changes that are made all together or not at all. Made by [`Client::multi`].
#[derive(Debug)]
#[must_use = "nothing is done before `commit`"]
pub struct Multi<'a> {
    client: &'a Client,
    ops: Vec<Write>,
    paths: Vec<&'a str>,
    refused: Option<Error>,
}

/// What one operation of a [`Multi`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MultiResult {
    /// create
    Created(Created),
    /// delete
    Deleted,
    /// set_data: the new stat.
    Changed(Stat),
    /// check
    Checked,
}

impl Client {
    /// Begins a list of changes that are made all together or not at all.
    pub fn multi(&self) -> Multi<'_> {
        Multi { client: self, ops: Vec::new(), paths: Vec::new(), refused: None }
    }

    /// Begins a list of reads that are made in one go: no change comes in between.
    pub fn multi_read(&self) -> MultiRead<'_> {
        MultiRead { client: self, ops: Vec::new(), paths: Vec::new(), refused: None }
    }
}

impl<'a> Multi<'a> {
    /// Makes a node.
    pub fn create(self, path: &'a str, data: impl AsRef<[u8]>, options: impl Into<CreateOptions>) -> Self {
        let create = self.client.create_op(path, data.as_ref(), &options.into());
        self.add(path, create.map(Write::Create))
    }

    /// Removes a node.
    pub fn delete(self, path: &'a str, version: Version) -> Self {
        let path_there = self.client.chroot_ref().absolute(path);
        self.add(path, path_there.map(|there| Write::Delete { path: there.into_owned(), version: version.wire() }))
    }

    /// Replaces the data of a node.
    pub fn set_data(self, path: &'a str, data: impl AsRef<[u8]>, version: Version) -> Self {
        let data = data.as_ref();
        let there = self.client.check_size(path, data.len()).and_then(|()| self.client.chroot_ref().absolute(path));
        let data = Some(Bytes::copy_from_slice(data));
        self.add(path, there.map(|there| Write::SetData { path: there.into_owned(), data, version: version.wire() }))
    }

    /// Demands that a node exists and has this version.
    pub fn check(self, path: &'a str, version: Version) -> Self {
        let there = self.client.chroot_ref().absolute(path);
        self.add(path, there.map(|there| Write::Check { path: there.into_owned(), version: version.wire() }))
    }

    fn add(mut self, path: &'a str, op: Result<Write, Error>) -> Self {
        self.paths.push(path);
        match op {
            Ok(op) => self.ops.push(op),
            Err(error) => self.refused = self.refused.or(Some(error)),
        }
        self
    }

    /// Makes the changes; one result for each, in order.
    ///
    /// # Errors
    /// [`Error::Multi`] with the operation that failed: then nothing was changed.
    pub fn commit(self) -> Pending<Vec<MultiResult>> {
        // The paths are needed to name the one that fails; none has a line feed in it.
        let asked = self.client.asked(&self.paths.join("\n"));
        match self.refused {
            Some(error) => Pending::refused(error, asked, results),
            None => self.client.submit(Request::write(&Write::Multi(self.ops)), asked, results),
        }
    }
}

fn results(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<Vec<MultiResult>, Error> {
    let Answer::Multi(outcomes) = asked.got(answer)? else { return misread(asked) };
    let path_of = |index: usize| asked.path.split('\n').nth(index).unwrap_or_default().to_owned();
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Error(ErrorCode::Ok | ErrorCode::RuntimeInconsistency) => {}
            Outcome::Error(code) => return Err(Error::Multi { index, code: *code, path: path_of(index) }),
            Outcome::UnknownError(code) => return Err(Error::UnknownCode { code: *code, path: path_of(index) }),
            Outcome::Create(_) | Outcome::Create2(..) | Outcome::Delete | Outcome::SetData(_) | Outcome::Check => {}
        }
    }
    let made = |path, stat| MultiResult::Created(Created { path: asked.chroot.relative(path), stat });
    let result = |(index, outcome)| match outcome {
        Outcome::Create(path) => Ok(made(path, Stat::default())),
        Outcome::Create2(path, stat) => Ok(made(path, stat)),
        Outcome::Delete => Ok(MultiResult::Deleted),
        Outcome::SetData(stat) => Ok(MultiResult::Changed(stat)),
        Outcome::Check => Ok(MultiResult::Checked),
        // Not the one that failed, and none did: as an answer this makes no sense.
        Outcome::Error(code) => Err(Error::Multi { index, code, path: path_of(index) }),
        Outcome::UnknownError(code) => Err(Error::UnknownCode { code, path: path_of(index) }),
    };
    outcomes.into_iter().enumerate().map(result).collect()
}

/// Reads that see one state of the tree. Made by [`Client::multi_read`]. Servers from 3.6 on.
#[derive(Debug)]
#[must_use = "nothing is read before `send`"]
pub struct MultiRead<'a> {
    client: &'a Client,
    ops: Vec<ReadOp<'a>>,
    paths: Vec<&'a str>,
    refused: Option<Error>,
}

/// What one operation of a [`MultiRead`] found. Each succeeds or fails by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadResult {
    /// get_data
    Data(Bytes, Stat),
    /// children: their names, in no order.
    Children(Vec<String>),
    /// It failed; the others did not on that account.
    Failed(Error),
}

impl<'a> MultiRead<'a> {
    /// Data and stat of a node.
    pub fn get_data(self, path: &'a str) -> Self {
        let there = self.client.chroot_ref().absolute(path);
        self.add(path, there.map(|path| ReadOp::GetData { path }))
    }

    /// Names of the children of a node.
    pub fn children(self, path: &'a str) -> Self {
        let there = self.client.chroot_ref().absolute(path);
        self.add(path, there.map(|path| ReadOp::GetChildren { path }))
    }

    fn add(mut self, path: &'a str, op: Result<ReadOp<'a>, Error>) -> Self {
        self.paths.push(path);
        match op {
            Ok(op) => self.ops.push(op),
            Err(error) => self.refused = self.refused.or(Some(error)),
        }
        self
    }

    /// Reads; one result for each, in order.
    ///
    /// # Errors
    /// None of the server's: each operation has its own.
    pub fn send(self) -> Pending<Vec<ReadResult>> {
        let asked = self.client.asked(&self.paths.join("\n"));
        match self.refused {
            Some(error) => Pending::refused(error, asked, read_results),
            None => self.client.submit(Request::read(&Read::MultiRead(self.ops)), asked, read_results),
        }
    }
}

fn read_results(answer: Result<Answer, Failure>, asked: &mut Asked) -> Result<Vec<ReadResult>, Error> {
    let Answer::MultiRead(outcomes) = asked.got(answer)? else { return misread(asked) };
    let paths = asked.path.split('\n').chain(std::iter::repeat(""));
    let result = |(outcome, path): (ReadOutcome, &str)| match outcome {
        ReadOutcome::Data(data, stat) => ReadResult::Data(data.unwrap_or_default(), stat),
        ReadOutcome::Children(names) => ReadResult::Children(names),
        ReadOutcome::Error(code) => ReadResult::Failed(Error::Server { code, path: path.to_owned() }),
        ReadOutcome::UnknownError(code) => ReadResult::Failed(Error::UnknownCode { code, path: path.to_owned() }),
    };
    Ok(outcomes.into_iter().zip(paths).map(result).collect())
}
