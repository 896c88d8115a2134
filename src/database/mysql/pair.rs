//! Two servers of which one replicates the other: found, and looked at from both sides.

use super::super::DatabaseError;
use super::super::link::Link;
use super::super::replication::{Beat, Marked, PairError, Replication, Sides};
use super::judge::{Look, Own, Source, Standing, Target};
use super::status::{self, Statements};
use super::{Gtids, Named, Product, Server, Writer, marker};
use crate::journal::EffectPermit;
use crate::run::RunId;

impl Link<Server> {
    async fn named(&mut self, query: &str) -> Result<Vec<Named>, DatabaseError> {
        let mut session = self.session().await?;
        let rows = session.named(query).await?;
        self.keep(session);
        Ok(rows)
    }

    async fn product(&mut self) -> Result<Product, DatabaseError> {
        let session = self.session().await?;
        let product = session.product();
        self.keep(session);
        Ok(product)
    }

    /// What does not fit what was asked for.
    fn odd(&self, why: String) -> DatabaseError {
        DatabaseError::Silent { at: self.server().at().to_owned(), cause: why }
    }

    async fn own(&mut self, product: Product, is_source: bool) -> Result<Own, DatabaseError> {
        let rows = self.named(Statements::of(product).own).await?;
        let row = rows.first().ok_or_else(|| self.odd("no answer about itself".to_owned()))?;
        status::own(product, row, is_source).map_err(|why| self.odd(why))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Pair {
    source: Link<Server>,
    target: Link<Server>,
    /// Who made the source, and the target.
    products: (Product, Product),
    /// Transactions of the target's own that an author knows of.
    known: Option<Gtids>,
    /// Writes marks.
    writer: Option<Writer>,
}

impl Pair {
    /// Finds out whether `target` replicates anybody; whom, each look tells. `known` are transactions of the target's own that
    /// the source need not have.
    pub async fn find(
        source: Server,
        target: Server,
        known: Option<&str>,
    ) -> Result<Self, PairError> {
        let (mut source, mut target) = (Link::to(source), Link::to(target));
        let products = (source.product().await?, target.product().await?);
        let is_maria = |product| matches!(product, Product::MariaDb(..));
        let at = target.server().at();
        if is_maria(products.0) != is_maria(products.1) {
            let why = format!(
                "one of {} and {at} is MariaDB and the other MySQL, whose transaction ids can not be compared",
                source.server().at()
            );
            return Err(PairError::Nothing(why));
        }
        if source.server().database() != target.server().database() {
            return Err(PairError::Nothing(format!(
                "{at} is another database than {}",
                source.server().at()
            )));
        }
        if target.named(Statements::of(products.1).connections).await?.is_empty() {
            return Err(PairError::Nothing(format!("{} replicates nobody", target.server().at())));
        }
        let known = known.map(|known| Gtids::read(products.1, known)).transpose();
        let known = known.map_err(DatabaseError::System)?;
        Ok(Self { source, target, products, known, writer: None })
    }

    /// The source.
    pub fn source(&self) -> &Server {
        self.source.server()
    }

    /// The target.
    pub fn target(&self) -> &Server {
        self.target.server()
    }

    /// As whom the target comes in at the source.
    pub(super) async fn comes_in_as(&mut self) -> Result<Vec<String>, DatabaseError> {
        let rows = self.target.named(Statements::of(self.products.1).connections).await?;
        Ok(rows.iter().filter_map(status::logs_in_as).collect())
    }

    /// Rows from the source.
    pub(super) async fn ask_source(&mut self, query: &str) -> Result<Vec<Named>, DatabaseError> {
        self.source.named(query).await
    }

    /// Rows from the target.
    pub(super) async fn ask_target(&mut self, query: &str) -> Result<Vec<Named>, DatabaseError> {
        self.target.named(query).await
    }

    async fn read_target(&mut self) -> Result<Target, DatabaseError> {
        let product = self.products.1;
        let own = self.target.own(product, false).await?;
        let connections = self.target.named(Statements::of(product).connections).await?;
        let lenient = self.target.named(status::LENIENT).await?;
        let connections = connections.iter().map(|row| status::connection(product, row)).collect();
        Ok(Target { own, connections: Some(connections), lenient: status::settings(&lenient) })
    }

    async fn read_source(&mut self) -> Result<Source, DatabaseError> {
        let product = self.products.0;
        let statements = Statements::of(product);
        let replicas = self.source.named(statements.replicas).await?;
        let log = self.source.named(statements.log).await?;
        // Last: what the target had before is in it.
        let own = self.source.own(product, true).await?;
        Ok(Source {
            own,
            replicas: status::replicas(product, &replicas),
            filters: status::log_filters(&log),
        })
    }
}

impl Replication for Pair {
    type Position = Gtids;
    type Look = Look;

    fn source_at(&self) -> &str {
        self.source.server().at()
    }

    fn target_at(&self) -> &str {
        self.target.server().at()
    }

    async fn position(&mut self) -> Result<Gtids, DatabaseError> {
        let own = self.source.own(self.products.0, true).await?;
        own.end().cloned().map_err(|why| self.source.odd(why))
    }

    async fn look(&mut self) -> Result<Look, DatabaseError> {
        let target = self.read_target().await?;
        let source = self.read_source().await?;
        let database = self.source.server().database().to_owned();
        Ok(Look { database, known: self.known.clone(), source, target })
    }

    fn judge(look: &Look, before: Option<&Look>) -> Standing {
        look.judge(before)
    }
}

impl Marked for Pair {
    const MARKS: &'static str = marker::TABLE;

    fn marks_apart(&self) -> bool {
        false
    }

    async fn sides(&mut self) -> Result<Sides, DatabaseError> {
        marker::sides(self).await
    }

    async fn bystanders(&mut self) -> Result<Vec<String>, DatabaseError> {
        // Whoever follows by the binary log is told of the table itself, too.
        Ok(Vec::new())
    }

    async fn make_marks(&mut self, permit: &EffectPermit) -> Result<(), DatabaseError> {
        marker::make(self, permit).await
    }

    async fn mark(
        &mut self,
        permit: &EffectPermit,
        run: &RunId,
        seq: i64,
    ) -> Result<Beat, DatabaseError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.source.server().writer().await?,
        };
        let beat = marker::write(&mut writer, permit, run, seq).await?;
        self.writer = Some(writer);
        Ok(beat)
    }

    async fn arrived(&mut self, run: &RunId) -> Result<Option<Beat>, DatabaseError> {
        marker::arrived(self, run).await
    }

    async fn source_now(&mut self) -> Result<i64, DatabaseError> {
        marker::now(self).await
    }

    async fn drop_marks_at_source(&mut self, permit: &EffectPermit) -> Result<(), DatabaseError> {
        let follows = matches!(self.look().await?.judge(None), Standing::At(_));
        if !follows && marker::are_same(self).await? {
            // Nothing comes over to a target that goes its own way by now, and nothing of the table is missing there.
            marker::remove_unlogged(self.target(), permit).await?;
            return marker::remove_unlogged(self.source(), permit).await;
        }
        marker::remove(self, permit).await
    }

    async fn drop_marks_at_target(&mut self, _permit: &EffectPermit) -> Result<(), DatabaseError> {
        Ok(())
    }
}
