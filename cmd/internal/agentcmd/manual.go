package agentcmd

import (
	"kvmctl/cmd/internal/cli"
	"kvmctl/cmd/internal/manual"
	"kvmctl/configs/kvmha"
	"kvmctl/ha"
)

// manualFiles is what the overview tells of the places on disk.
var manualFiles = [][2]string{
	{ha.ConfigFile, "What this node shares with the other one. See kvmha.toml(5)."},
	{ha.StateDir + "/audit.jsonl", "Every change of role; kvmha log shows it."},
	{ha.StateDir + "/spool/", "Alerts that could not be delivered yet."},
	{ha.RunDir + "/" + socketName, "Where the agent answers to kvmha status and the like."},
}

// Manual gives all manual pages of kvmha.
func Manual() []manual.Page {
	return manual.Program{Root: New(&cli.Env{Prog: "kvmha"}), Files: manualFiles, Pages: []manual.FilePage{
		{Name: "kvmha.toml", What: "configuration of the agent that shares addresses between two nodes", Path: ha.ConfigFile, Reference: kvmha.Reference},
	}}.Manual()
}
