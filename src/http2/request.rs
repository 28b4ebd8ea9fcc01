//! stub
use crate::http::request::{BadRequest, HeadLimits, RequestHead, Parse, parse};
#[derive(Debug, Default)]
pub struct Request { section: Vec<u8>, length: Option<u64> }
#[derive(Default)]
pub struct Assembler { length: Option<u64>, trailers: bool, method: Vec<u8>, path: Vec<u8>, section: Vec<u8> }
pub enum Bad { Malformed, Refused(BadRequest) }
const L: HeadLimits = HeadLimits{head_bytes_max:10000,target_bytes_max:1000,field_lines_max:100};
impl Assembler {
    pub fn begin(&mut self, spare: Option<Request>) { self.length = None; self.trailers = true; self.section = spare.map(|r| r.section).unwrap_or_default(); self.section.clear(); self.method.clear(); self.path.clear(); }
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        match name { b":method" => {self.method.extend_from_slice(value); self.trailers=false;}, b":path" => self.path.extend_from_slice(value), b":scheme" => {}, b":authority" => { self.section.extend_from_slice(b"host: "); self.section.extend_from_slice(value); self.section.extend_from_slice(b"\r\n"); }
          _ => { if name == b"content-length" { self.length = std::str::from_utf8(value).unwrap().parse().ok(); } else {self.section.extend_from_slice(name); self.section.extend_from_slice(b": "); self.section.extend_from_slice(value); self.section.extend_from_slice(b"\r\n"); }} } }
    pub fn is_trailers(&self) -> bool { self.trailers }
    pub fn finish(&mut self, _l: &HeadLimits, _c: bool) -> Result<Request, Bad> { let mut s = Vec::new(); s.extend_from_slice(&self.method); s.push(b' '); s.extend_from_slice(&self.path); s.extend_from_slice(b" HTTP/1.1\r\n"); s.extend_from_slice(&self.section); s.extend_from_slice(b"\r\n");
      match parse(&s, &L) { Ok(Parse::Complete(_)) => Ok(Request{section: s, length: self.length}), Err(b) => Err(Bad::Refused(b)), _ => Err(Bad::Malformed) } }
}
impl Request { pub fn head(&self) -> RequestHead<'_> { 
  let Parse::Complete(h) = parse(&self.section, &L).unwrap() else { panic!() }; h }
  pub fn content_length(&self) -> Option<u64> { self.length } }
