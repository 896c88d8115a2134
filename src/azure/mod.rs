//! Azure Resource Manager as this program uses it.

/// A connection to Azure, made on first use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Azure;
