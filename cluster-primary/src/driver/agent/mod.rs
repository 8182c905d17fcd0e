//! The agents of Node workers: how they get into the process, and their pipes.

mod folder;
mod pipes;
mod prepare;

pub(super) use folder::{AgentFile, AgentFolder, AgentFolderState};
pub(super) use pipes::{AgentPipes, AgentPipesState, Then};
pub(super) use prepare::Prepared;
