package drbdlab

import "context"

// PDU is a fence agent as fence-agents has them (FenceAgentAPI): its switch is whoever runs the lab. It makes /run/pdu.asked when it is to switch off, and
// answers when /run/pdu.off is there.
const PDU = `#!/bin/sh
while read -r line; do case $line in action=*) action=${line#action=} ;; esac; done
case $action in
off | reboot) : >/run/pdu.asked; while ! [ -e /run/pdu.off ]; do sleep 0.05; done; echo "Success: Powered OFF"; exit 0 ;;
status) [ -e /run/pdu.off ] && { echo "Status: OFF"; exit 2; }; echo "Status: ON"; exit 0 ;;
on | monitor | list) exit 0 ;;
metadata) echo '<?xml version="1.0" ?><resource-agent name="pdu" shortdesc="a switch"><parameters><parameter name="plug"><content type="string"/></parameter><parameter name="action"><content type="string"/></parameter></parameters><actions><action name="on"/><action name="off"/><action name="reboot"/><action name="status"/><action name="monitor"/><action name="list"/><action name="metadata"/></actions></resource-agent>'; exit 0 ;;
esac
exit 1
`

// WithPDU adds the fence /bin/pdu to both files.
func (a *Agents) WithPDU() {
	a.Fence = "[fence.pdu]\ntype = \"exec\"\nagent = \"/bin/pdu\"\nparameters = [\"plug=1\"]\ntimeout = \"15s\"\n"
	a.Lines = "fence = \"pdu\"\nfence_after = \"1s\"\n"
}

// Power is a PDU that answers: it cuts the power of victim when asker's agent has asked.
func (a *Agents) Power(ctx context.Context, asker, victim *Guest) error {
	if err := asker.Until(ctx, "[ -e /run/pdu.asked ]"); err != nil {
		return err
	}
	victim.PowerCut()
	_, err := asker.Sh(ctx, ": >/run/pdu.off")
	return err
}
