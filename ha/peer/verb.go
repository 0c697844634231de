package peer

// Verb is what one node may ask of another. The list is fixed; none of them runs a command that was sent.
type Verb string

// The verbs.
const (
	VerbReport         Verb = "report"           // what the node says of itself
	VerbAskHandover    Verb = "ask-handover"     // hand a group over
	VerbOutdateDisk    Verb = "outdate-disk"     // give up the right to serve what is on a disk
	VerbSplitBrainStep Verb = "split-brain-step" // one step of resolving a split brain
	VerbStorage        Verb = "storage"          // what each of two nodes says of a group's disks
	VerbSyncPull       Verb = "sync-pull"        // a stream: rsync, restricted to the declared paths
	VerbSID            Verb = "sid"              // the domain's and the node's own SID
	VerbDRBDConf       Verb = "drbd-conf"        // drbd.conf and what it includes, with a digest for each secret
	VerbArbiter        Verb = "arbiter"          // compare and set who may be alone
	VerbRekey          Verb = "rekey"            // accept a new key beside the one in use
)

// readsOnly reports whether asking twice is as good as asking once, so that a connection that broke unnoticed costs nothing but a second try.
func (v Verb) readsOnly() bool {
	return v == VerbReport || v == VerbSID || v == VerbStorage || v == VerbDRBDConf
}
