//! Labels that no path of the graph allows, and what becomes of them.

use crate::graph::Graph;
use crate::spec::OrphanLabels;

/// The graph's labels under a policy.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    graph: Graph,
    policy: OrphanLabels,
    /// Per stage: the stages with the same label column, itself included.
    peers: Vec<Vec<usize>>,
}

impl Labels {
    pub(crate) fn new(graph: Graph, policy: OrphanLabels) -> Self {
        let same = |label: &str| graph.nodes.iter().enumerate().filter(|(_, n)| n.label == label).map(|(i, _)| i).collect();
        let peers = graph.nodes.iter().map(|n| same(&n.label)).collect();
        Self { graph, policy, peers }
    }
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
    pub(crate) fn policy(&self) -> OrphanLabels {
        self.policy
    }

    /// Whether a stage's label is 1 and no stage with that label was reached. `reached` is the graph's answer to `labels`.
    pub(crate) fn is_orphan(&self, stage: usize, labels: &[u8], reached: &[u8]) -> bool {
        labels[stage] != 0 && self.peers[stage].iter().all(|&p| reached[p] == 0)
    }

    /// True for the first stage of those with one label: counts each label once.
    pub(crate) fn is_first(&self, stage: usize) -> bool {
        self.peers[stage][0] == stage
    }

    /// Applies the policy to a row's labels `[S]`. `reached` is scratch `[S]`, afterwards the graph's answer.
    #[inline]
    pub(crate) fn apply(&self, labels: &mut [u8], reached: &mut [u8]) {
        self.graph.reached(labels, reached);
        if labels.iter().zip(&*reached).all(|(l, r)| l == r) {
            return;
        }
        match self.policy {
            // Refused by the lint, out of every part, or wanted as it is.
            OrphanLabels::Error | OrphanLabels::DropRow | OrphanLabels::Keep => {}
            OrphanLabels::ClearChild => self.clear(labels, reached),
            OrphanLabels::SetParent => {
                for stage in 0..labels.len() {
                    if self.is_first(stage) && self.is_orphan(stage, labels, reached) {
                        self.set_parents(stage, labels, reached);
                    }
                }
                // What no parent can repair (the branch's `unless` was reached) is read as 0.
                self.clear(labels, reached);
            }
        }
    }

    fn clear(&self, labels: &mut [u8], reached: &[u8]) {
        // Unreached labels do not change what is reached, so `reached` stays right while they are cleared.
        for stage in 0..labels.len() {
            if self.is_orphan(stage, labels, reached) {
                labels[stage] = 0;
            }
        }
    }

    /// Sets the parents of the stage with this label that then is reached, of several the one that changes the fewest labels.
    fn set_parents(&self, stage: usize, labels: &mut [u8], reached: &mut [u8]) {
        let mut best: Option<(usize, Vec<u8>)> = None;
        for &candidate in &self.peers[stage] {
            let mut tried = labels.to_vec();
            let mut at = self.graph.nodes[candidate].parent;
            while let Some(parent) = at {
                self.peers[parent].iter().for_each(|&p| tried[p] = 1);
                at = self.graph.nodes[parent].parent;
            }
            self.graph.reached(&tried, reached);
            let changes = tried.iter().zip(&*labels).filter(|(a, b)| a != b).count();
            if reached[candidate] != 0 && best.as_ref().is_none_or(|(fewest, _)| changes < *fewest) {
                best = Some((changes, tried));
            }
        }
        if let Some((_, repaired)) = best {
            labels.copy_from_slice(&repaired);
        }
        self.graph.reached(labels, reached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;

    fn node(name: &str, label: &str, parent: Option<usize>, unless: Option<usize>) -> Node {
        Node { name: name.into(), label: label.into(), parent, unless }
    }
    fn chain(policy: OrphanLabels) -> Labels {
        let nodes = vec![node("click", "click", None, None), node("cart", "cart", Some(0), None), node("buy", "buy", Some(1), None)];
        Labels::new(Graph::new("row".into(), nodes, vec![]), policy)
    }
    fn after(labels: &Labels, mut row: Vec<u8>) -> Vec<u8> {
        let mut reached = vec![0; row.len()];
        labels.apply(&mut row, &mut reached);
        row
    }

    #[test]
    fn policies_on_a_chain() {
        assert_eq!(after(&chain(OrphanLabels::ClearChild), vec![1, 0, 1]), [1, 0, 0]);
        assert_eq!(after(&chain(OrphanLabels::ClearChild), vec![0, 1, 1]), [0, 0, 0]);
        assert_eq!(after(&chain(OrphanLabels::SetParent), vec![0, 0, 1]), [1, 1, 1]);
        assert_eq!(after(&chain(OrphanLabels::SetParent), vec![0, 1, 0]), [1, 1, 0]);
        assert_eq!(after(&chain(OrphanLabels::Keep), vec![0, 0, 1]), [0, 0, 1]);
        assert_eq!(after(&chain(OrphanLabels::ClearChild), vec![1, 1, 0]), [1, 1, 0]);
    }

    #[test]
    fn two_stages_with_one_label_are_no_orphans_of_each_other() {
        // buy after cart, or straight after the click.
        let nodes = vec![
            node("click", "click", None, None),
            node("cart", "cart", Some(0), None),
            node("late", "buy", Some(1), None),
            node("direct", "buy", Some(0), Some(1)),
        ];
        let graph = Graph::new("row".into(), nodes, vec![("buy".into(), vec![2, 3])]);
        let clear = Labels::new(graph.clone(), OrphanLabels::ClearChild);
        assert_eq!(after(&clear, vec![1, 0, 1, 1]), [1, 0, 1, 1]);
        assert_eq!(after(&clear, vec![1, 1, 1, 1]), [1, 1, 1, 1]);
        assert_eq!(after(&clear, vec![0, 0, 1, 1]), [0, 0, 0, 0]);
        let set = Labels::new(graph, OrphanLabels::SetParent);
        // The click alone is enough; the cart stays as it is.
        assert_eq!(after(&set, vec![0, 0, 1, 1]), [1, 0, 1, 1]);
    }

    #[test]
    fn a_complement_branch_that_its_sibling_forbids_is_read_as_zero() {
        let nodes =
            vec![node("click", "click", None, None), node("cart", "cart", Some(0), None), node("bounce", "bounce", Some(0), Some(1))];
        let labels = Labels::new(Graph::new("row".into(), nodes, vec![]), OrphanLabels::SetParent);
        assert_eq!(after(&labels, vec![1, 1, 1]), [1, 1, 0]);
        assert_eq!(after(&labels, vec![0, 0, 1]), [1, 0, 1]);
    }
}
