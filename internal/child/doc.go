// Package child runs an admin's programs for an agent that must not depend on them: bounded in time and output, killed as a group, and never holding a descriptor or a pipe of the agent's.
package child
