//! Tables of real servers compared: throw-away PostgreSQL and MariaDB, and an oracle that knows what differs. Each test names what it skips
//! where a server is not installed.

mod across;
mod changes;
mod load;
mod mariadb;
mod oracle;
mod postgres;
mod runs;
mod samples;
mod walks;
