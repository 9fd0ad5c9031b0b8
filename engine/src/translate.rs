//! A request to a provider of another dialect than its client's, and the answer back: through the
//! neutral form of [`wire::chat`].
//!
//! In: the client's body. Out: a body for one target, and what turns its answer into the client's.
//! Never: I/O; anything kept after the answer.

use crate::decide::Understood;
use crate::relay::Translator;
use crate::serve::hex;
use crate::target::{Target, Way};
use arrayvec::ArrayString;
use wire::chat::{Chat, Dropped, Shown, StreamWriter};
use wire::dialect::{Answer, AnswerFault};
use wire::refusal::{Kind, Refusal};

/// A request and who is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The client's body.
    pub body: &'a [u8],
    /// What it says.
    pub understood: &'a Understood,
    /// Whom to ask.
    pub target: &'a Target,
    /// In which dialect.
    pub way: &'a Way,
    /// The request's id.
    pub id: u128,
}

/// A request in the words of one target.
pub struct Translated {
    /// What is sent.
    pub body: Vec<u8>,
    /// What it lost on the way.
    pub dropped: Dropped,
    client: &'static dyn Chat,
    provider: &'static dyn Chat,
    /// Writes the client's stream, when one is asked for.
    writer: Option<Box<dyn StreamWriter>>,
}

impl Translated {
    /// The request in the words of its target; `None` when that speaks the client's own dialect. A
    /// refusal is of what the target has no words for.
    pub fn prepare(asked: Asked<'_>) -> Result<Option<Translated>, Refusal> {
        let Asked { body, understood, target, way, .. } = asked;
        let from = understood.codec.dialect();
        if from == way.codec.dialect() {
            return Ok(None);
        }
        let (Some(client), Some(provider)) = (wire::dialect::chat(from), way.chat) else {
            return Err(Refusal::new(Kind::NotCapable));
        };
        let request = client.neutral_request(body)?;
        let mut translated = Vec::with_capacity(body.len() + 512);
        let dropped = provider.provider_request(&request, &target.facts(way), &mut translated)?;
        let writer =
            request.stream.then(|| client.stream_writer(&request, &shown(&asked, &hex(asked.id))));
        Ok(Some(Translated { body: translated, dropped, client, provider, writer }))
    }

    /// A translator for the stream of the answer.
    pub fn translator(&mut self, asked: Asked<'_>) -> Result<Translator, Refusal> {
        let Asked { body, target, way, .. } = asked;
        let writer = match self.writer.take() {
            Some(writer) => writer,
            // An earlier connection has used it up.
            None => {
                let request = self.client.neutral_request(body)?;
                self.client.stream_writer(&request, &shown(&asked, &hex(asked.id)))
            }
        };
        let reader = self.provider.stream_reader(&target.read_rules(way));
        Ok(Translator::new(reader, writer))
    }

    /// A whole answer in the client's words, and what is to be known of it.
    pub fn answer(
        &self,
        answer: &[u8],
        asked: Asked<'_>,
    ) -> Result<(Vec<u8>, Answer), AnswerFault> {
        let rules = asked.target.read_rules(asked.way);
        let answer = self.provider.neutral_answer(answer, &rules)?;
        let facts = Answer { usage: answer.usage, content_bytes: answer.content_bytes() };
        // It could be read when it was sent.
        let request =
            self.client.neutral_request(asked.body).map_err(|_| AnswerFault::Malformed)?;
        let mut out = Vec::with_capacity(1_024);
        self.client.client_answer(&answer, &request, &shown(&asked, &hex(asked.id)), &mut out);
        Ok((out, facts))
    }
}

fn shown<'s>(asked: &Asked<'s>, id: &'s ArrayString<32>) -> Shown<'s> {
    Shown {
        id,
        model: &asked.target.model,
        // The id begins with the milliseconds of Unix time.
        created_s: (asked.id >> 80) as u64 / 1_000,
        input_tokens: asked.understood.parsed.input_tokens(),
    }
}
