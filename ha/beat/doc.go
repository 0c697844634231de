// Package beat is the heartbeat between two agents: datagrams of which every byte is authenticated, a machine that says from them who is alive on
// which path, and one that decides from that which node a group belongs to (profile F).
package beat
