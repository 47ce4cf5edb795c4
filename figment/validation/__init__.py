from figment.validation.grouping import grouping_softmax as grouping_softmax
