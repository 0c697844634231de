package agentcmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvmctl/cmd/internal/cli"
	"kvmctl/ha/drbd/conf"
	"kvmctl/ha/drbd/create"
)

// maxInitSteps is more than any resource needs: whoever comes so far goes in a circle.
const maxInitSteps = 12

type initOptions struct {
	resource string
	wish     create.Wish
	json     bool
}

func newDRBDInit(a *app) *cobra.Command {
	o := &initOptions{}
	data := ""
	cmd := &cobra.Command{
		Use:   "init <resource> --data here|peer|none",
		Short: "Make a new resource usable: its metadata, and whose data it begins with",
		Long: `Make a resource of drbd.conf usable for the first time, and tell each step. It looks first, and does what is missing: what was done before, or by hand, is
neither done again nor undone, and a run that was killed is finished by the next one.

  --data none   both disks are blank: nothing is copied. Typed on both nodes.
  --data here   what is on this node's disk stays, and is copied to the peer, where --data peer is typed first. Metadata inside the disk need some room
                at its end: where a file system leaves none, drbdmeta says by how much it has to shrink.
  --data peer   what is on this node's disk is overwritten by what the peer has.

It refuses a disk that is in use, one on which something is found unless it is to stay or --yes is given, metadata of DRBD's that are there already, and to
overwrite good data of the peer's. The node is not left primary. Exit code 0 when nothing is left to do here, 3 when it refuses.

--json prints resource, done (the steps of this run), what, next.`,
		Example: `  kvmha drbd init r0 --data none
  kvmha drbd init r0 --data peer --yes`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, words []string) error {
			o.resource, o.wish.Data = words[0], create.Data(data)
			if !slices.Contains([]create.Data{create.Unsaid, create.Here, create.Peer, create.None}, o.wish.Data) {
				return cli.Usage("kvmha drbd init "+o.resource+" --help", "cannot init %s: --data is here, peer or none, not %q", o.resource, data)
			}
			return a.runDRBDInit(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "`WHOSE` data the two nodes begin with: here, peer or none")
	cmd.Flags().BoolVarP(&o.wish.Yes, "yes", "y", false, "what is on the disk here may be overwritten")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return cmd
}

// initialised is the result for programs.
type initialised struct {
	Resource string   `json:"resource"`
	Done     []string `json:"done"`
	What     string   `json:"what"`
	Next     []string `json:"next"`
}

// initStep is what each step is called.
var initStep = map[create.Act]string{
	create.CreateMD: "drbdadm create-md", create.Up: "drbdadm up", create.Await: "wait for the peer", create.Force: "drbdadm primary --force",
	create.Demote: "drbdadm secondary", create.SkipSync: "drbdadm new-current-uuid --clear-bitmap",
}

func (a *app) runDRBDInit(ctx context.Context, o *initOptions) error {
	if err := a.needRoot("init " + o.resource); err != nil {
		return err
	}
	r, host, err := a.drbdResource(o.resource)
	if err != nil {
		return err
	}
	out := initialised{Resource: o.resource, Done: []string{}}
	for range maxInitSteps {
		f, err := createFacts(ctx, r, host)
		if err != nil {
			return drbdSays("init "+o.resource, err)
		}
		s := create.Next(f, o.wish)
		switch s.Act {
		case create.Refuse:
			return cli.Refused(strings.Join(s.Hint, "\n"), "cannot init %s: %s", o.resource, s.Why)
		case create.Done:
			out.What, out.Next = s.Why, s.Hint
			return a.sayInit(o, out)
		case create.Await:
			a.env.Talk("%s: %s", o.resource, s.Why)
			if o.wish.Awaited, err = awaitPeer(ctx, o.resource); err != nil {
				return drbdSays("init "+o.resource, err)
			}
			continue
		}
		a.env.Talk("%s: %s %s: %s", o.resource, initStep[s.Act], o.resource, s.Why)
		if err := createAct(ctx, s.Act, o.resource); err != nil {
			return drbdSays("init "+o.resource, err)
		}
		o.wish.Forced = o.wish.Forced || s.Act == create.Force
		out.Done = append(out.Done, initStep[s.Act]+" "+o.resource)
	}
	return cli.Failed("kvmha drbd status "+o.resource, "cannot init %s: it does not get on after %s", o.resource, strings.Join(out.Done, ", "))
}

func (a *app) sayInit(o *initOptions, out initialised) error {
	if o.json {
		return a.env.JSON(out)
	}
	a.env.Print("%s: %s\n", o.resource, out.What)
	for _, next := range out.Next {
		a.env.Talk("next: %s", next)
	}
	return nil
}

// drbdResource finds a resource of drbd.conf, and its section for this host.
func (a *app) drbdResource(name string) (*conf.Resource, *conf.Host, error) {
	c, err := conf.Load(conf.Dir(a.root), a.root, conf.Main)
	if err != nil {
		return nil, nil, drbdError(err)
	}
	i := slices.IndexFunc(c.Resources, func(r *conf.Resource) bool { return r.Name.Text == name })
	if i < 0 {
		return nil, nil, cli.Usage("kvmha drbd status", "cannot init %s: drbd.conf has no resource of that name", name)
	}
	r, here := c.Resources[i], a.drbdHost()
	i = slices.IndexFunc(r.Hosts, func(h *conf.Host) bool { return h.Called(here) })
	if i < 0 {
		return nil, nil, cli.Usage("kvmha drbd lint", "cannot init %s: drbd.conf has it not for %s", name, here)
	}
	return r, r.Hosts[i], nil
}

// otherHost is what people call the other node of a resource.
func otherHost(r *conf.Resource, here *conf.Host) string {
	for _, h := range r.Hosts {
		if h != here {
			return h.Title()
		}
	}
	return "the peer"
}
