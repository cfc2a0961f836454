//! Calls of a provider's API against a double with trouble.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use machine_http::api::{
    Access, Anonymous, Api, ApiError, Call, Outgoing, Poll, PollError, Refusal, Retries, Seen, Token, poll,
};
use machine_http::{Client, Settings, Url};
use machine_testkit::double::{Double, Provider, Reply, Request, Trouble};
use serde_json::{Value, json};

/// A provider that counts what was made.
#[derive(Default)]
struct Shop {
    made: usize,
}

impl Provider for Shop {
    fn answer(&mut self, request: &Request) -> Reply {
        match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/hosts") => {
                self.made += 1;
                Reply::json(201, &json!({ "id": self.made }))
            }
            ("GET", "/hosts") => Reply::json(200, &json!({ "hosts": self.made })),
            ("GET", "/me") if request.header("authorization") == "Bearer fresh" => {
                Reply::json(200, &json!({}))
            }
            ("GET", "/away") => Reply::empty(302).header("location", "/hosts"),
            ("GET", "/me") => {
                Reply::json(401, &json!({ "error": { "code": "unauthorized", "message": "bad\ntoken" } }))
                    .header("x-request-id", "req-7")
            }
            _ => Reply::text(404, "text/plain", "no such\nthing"),
        }
    }
}

/// Pauses that no test notices.
const QUICK: Retries = Retries {
    tries: 4,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(4),
    budget: Duration::from_secs(20),
};

fn client() -> Client {
    Client::new(&Settings { redirects: false, proxies: false, ..Settings::default() }).unwrap()
}

fn url(shop: &Double<Shop>, path: &str) -> Url {
    Url::parse(&format!("{}{path}", shop.url())).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn send(call: &Call) -> Result<Value, ApiError> {
    let api = Api::new(client(), Refusal::of, &Anonymous).retrying(QUICK);
    block_on(async { api.send(call).await?.json() })
}

fn makes(request: &Request) -> bool {
    request.method == "POST"
}

#[test]
fn what_makes_something_is_not_asked_for_twice_when_its_answer_is_lost() {
    let shop = Double::start(Shop::default());
    shop.trouble(1, Trouble::LostReply, makes);
    let error = send(&Call::post(url(&shop, "/hosts"))).unwrap_err();
    assert!(error.outcome_unknown() && error.may_pass(), "{error}");
    assert_eq!(shop.provider().made, 1);
    // With a token by which the provider knows it again, it may be.
    shop.trouble(1, Trouble::LostReply, makes);
    assert_eq!(send(&Call::post(url(&shop, "/hosts")).repeatable()).unwrap(), json!({ "id": 3 }));
}

#[test]
fn whoever_asks_too_often_comes_back_later_whatever_is_asked() {
    let shop = Double::start(Shop::default());
    shop.trouble(2, Trouble::Answer(Reply::empty(429).header("retry-after", "0")), makes);
    assert_eq!(send(&Call::post(url(&shop, "/hosts"))).unwrap(), json!({ "id": 1 }));
    // Longer than there is time for: said at once.
    shop.trouble(1, Trouble::Answer(Reply::empty(429).header("retry-after", "3600")), makes);
    let error = send(&Call::post(url(&shop, "/hosts"))).unwrap_err();
    let refusal = error.refusal().unwrap();
    assert!(refusal.throttled && !error.outcome_unknown());
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(3600)));
    assert_eq!(shop.provider().made, 1);
}

#[test]
fn a_server_in_trouble_is_asked_again_for_what_is_safe() {
    let shop = Double::start(Shop::default());
    for trouble in [Trouble::Answer(Reply::empty(503)), Trouble::Refused, Trouble::LostReply] {
        shop.trouble(1, trouble, |_| true);
        assert_eq!(send(&Call::get(url(&shop, "/hosts"))).unwrap(), json!({ "hosts": 0 }));
    }
    // Not for ever.
    shop.take_exchanges();
    shop.trouble(usize::MAX, Trouble::Answer(Reply::empty(503)), |_| true);
    let error = send(&Call::get(url(&shop, "/hosts"))).unwrap_err();
    assert_eq!((error.status(), shop.take_exchanges().len()), (Some(503), 4));
    // An error of its own when it was to make something: nobody knows.
    shop.heal();
    shop.trouble(1, Trouble::Answer(Reply::empty(500)), makes);
    assert!(send(&Call::post(url(&shop, "/hosts"))).unwrap_err().outcome_unknown());
}

#[test]
fn a_refusal_names_the_call_and_what_was_said_in_one_line() {
    let shop = Double::start(Shop::default());
    let error = send(&Call::get(url(&shop, "/me?secret=1"))).unwrap_err();
    let text = "GET 127.0.0.1/me: 401 unauthorized: bad token (request id req-7)";
    assert_eq!(error.to_string(), text);
    let error = send(&Call::get(url(&shop, "/nowhere"))).unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "GET 127.0.0.1/nowhere: 404: no such thing");
    // Nobody is followed elsewhere with credentials.
    assert_eq!(send(&Call::get(url(&shop, "/away"))).unwrap_err().status(), Some(302));
}

/// A token that is old at first.
struct Stale(AtomicBool);

#[async_trait]
impl Access for Stale {
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        let token = if self.0.load(Ordering::Relaxed) { "fresh" } else { "stale-secret" };
        Token::bearer(token)?.grant(request).await
    }

    async fn renew(&self) -> bool {
        self.0.store(true, Ordering::Relaxed);
        true
    }
}

#[test]
fn a_token_that_ended_is_renewed_once() {
    let shop = Double::start(Shop::default());
    let (access, told) = (Stale(AtomicBool::new(false)), Mutex::new(Vec::new()));
    let api = Api::new(client(), Refusal::of, &access)
        .telling(|exchange| told.lock().unwrap().push(exchange.to_string()));
    block_on(api.send(&Call::get(url(&shop, "/me")))).unwrap();
    drop(api);
    let told = told.into_inner().unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("GET 127.0.0.1/me: 401, ")
            && told[0].ends_with("(401 unauthorized: bad token (request id req-7))")
    );
    assert!(!told.concat().contains("stale-secret"));
    assert!(matches!(Token::bearer("a\nb"), Err(ApiError::NoAccess { .. })));
}

#[test]
fn a_wait_ends_at_its_limit_and_says_what_was_seen() {
    let wait = Poll {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(5),
        ..Poll::new("the host to be active", Duration::from_millis(60))
    };
    let looks = std::cell::Cell::new(0);
    let look = async || -> Result<Seen<()>, ApiError> {
        looks.set(looks.get() + 1);
        Ok(Seen::NotYet("new".to_owned()))
    };
    let error = block_on(poll(&wait, |_, _| (), look)).unwrap_err();
    assert_eq!(error.to_string(), "waited 0 s for the host to be active; last seen: new");
    assert!(matches!(error, PollError::Limit { .. }) && looks.get() > 2);
    // Pauses that grow beyond all that a duration can be.
    let wild = Poll { growth: f64::MAX, ..wait };
    let look = async || Ok::<Seen<()>, ApiError>(Seen::NotYet(String::new()));
    assert!(block_on(poll(&wild, |_, _| (), look)).is_err());
    let found = poll(&wait, |_, _| (), async || Ok::<_, ApiError>(Seen::Done(7)));
    assert_eq!(block_on(found).ok(), Some(7));
}
