//! A client that writes throughout: it asks the name server where the application is, hands in an order there, and does so again
//! until that order is acknowledged. What was acknowledged it keeps, with where and when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use domain::base::Rtype;
use migrate::dns::record::name;
use migrate::dns::{Mode, ask};

use super::application::Site;
use super::world::{NAME, World};
use crate::child::until;
use crate::writing::FIRST;

/// Between two orders.
const PACE: Duration = Duration::from_millis(3);

/// An order that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) by: Site,
    pub(crate) at: Instant,
}

/// See the module. It stops when it is dropped.
pub(crate) struct Client {
    stop: Arc<AtomicBool>,
    orders: Arc<Mutex<Vec<Order>>>,
    thread: Option<JoinHandle<()>>,
}

/// Where it looks, and what it finds there.
struct Route {
    names: std::net::SocketAddr,
    sites: [(Site, String); 2],
    http: reqwest::Client,
}

impl Route {
    /// Hands one order in at whatever the name leads to; by whom it was acknowledged.
    async fn order(&self, id: i64) -> Option<Site> {
        let asked = name(NAME).ok()?;
        let reply = ask(self.names, &asked, Rtype::CNAME, Mode::AuthoritativeTcp).await.ok()?;
        let alias = reply.answer.first()?.rdata.written();
        // The two hosts share an address here, so each is told by its port.
        let (site, url) = self.sites.iter().find(|(site, _)| alias.contains(site.name()))?;
        let sent = self.http.post(format!("{url}/orders/{id}")).send().await.ok()?;
        sent.status().is_success().then_some(*site)
    }
}

impl Client {
    pub(crate) fn start(world: &World) -> Self {
        let (stop, orders) =
            (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<Order>>>::default());
        let sites = [(Site::Source, world.source.url()), (Site::Target, world.target.url())];
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let route = Route { names: world.names.address, sites, http };
        let (told, kept) = (Arc::clone(&stop), Arc::clone(&orders));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut id = FIRST;
                while !told.load(Ordering::Relaxed) {
                    if let Some(by) = route.order(id).await {
                        kept.lock().expect("no panic").push(Order { id, by, at: Instant::now() });
                        id += 1;
                    }
                    tokio::time::sleep(PACE).await;
                }
            });
        });
        Self { stop, orders, thread: Some(thread) }
    }

    /// What was acknowledged until now.
    pub(crate) fn orders(&self) -> Vec<Order> {
        self.orders.lock().expect("no panic").clone()
    }

    /// Waits until more orders have been acknowledged there.
    #[track_caller]
    pub(crate) fn until_more_at(&self, site: Site) {
        let count = || self.orders().iter().filter(|order| order.by == site).count();
        let before = count();
        until(&format!("orders at the {}", site.name()), || count() > before + 5);
    }

    /// Everything that was acknowledged.
    pub(crate) fn stop(mut self) -> Vec<Order> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it runs").join().expect("it wrote");
        self.orders()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it found is nobody's concern any more.
            let _ = thread.join();
        }
    }
}
