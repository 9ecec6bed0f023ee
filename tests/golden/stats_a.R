# Golden values for tests/stats: run as `Rscript tests/golden/stats_a.R tests/golden` and commit both outputs.
# Writes stats_a_input.csv (seeded, simulated) and stats_a.json (what R's packages say about it, with their versions).
suppressMessages({library(pROC); library(psych); library(jsonlite)})
folder <- commandArgs(trailingOnly = TRUE)[1]
set.seed(20240711)
n <- 120
outcome <- rbinom(n, 1, 0.4)
latent <- rnorm(n)
first <- round(outcome * 1.1 + latent + rnorm(n, sd = 0.7), 1)        # one decimal: ties within and between classes
second <- round(outcome * 0.6 + 0.5 * latent + rnorm(n), 1)
probability <- round(plogis(0.9 * first - 0.8), 4)
grade <- sample(0:3, n, replace = TRUE, prob = c(4, 3, 2, 1))
read <- pmin(pmax(grade + sample(-1:1, n, replace = TRUE, prob = c(2, 5, 2)), 0), 3)
class_score <- sapply(0:3, function(k) round(runif(n) + 0.6 * (grade == k), 3))
class_score <- round(class_score / rowSums(class_score), 4)
before <- round(rnorm(n, 10, 2), 3)
after <- round(before + rnorm(n, 0.4, 1.5), 3)
input <- data.frame(outcome, first, second, probability, grade, read, class_score, before, after)
names(input)[7:10] <- paste0("class", 0:3)
write.csv(input, file.path(folder, "stats_a_input.csv"), row.names = FALSE, quote = FALSE)
input <- read.csv(file.path(folder, "stats_a_input.csv"))
list2env(input, globalenv())

curve <- function(score, y = outcome) roc(y, score, levels = c(0, 1), direction = "<", quiet = TRUE)
a <- curve(first); b <- curve(second)
paired <- roc.test(a, b, method = "delong", paired = TRUE)
half <- seq_len(n) <= 60
u1 <- curve(first[half], outcome[half]); u2 <- curve(first[!half], outcome[!half])
unpaired <- roc.test(u1, u2, method = "delong", paired = FALSE)
part <- function(ends, focus, correct = FALSE)
  as.numeric(auc(a, partial.auc = ends, partial.auc.focus = focus, partial.auc.correct = correct))
youden <- coords(a, "best", best.method = "youden", ret = c("threshold", "specificity", "sensitivity"))
readings <- list(
  sens_at_spec_0.9 = coords(a, 0.9, input = "specificity", ret = "sensitivity")[1, 1],
  spec_at_sens_0.9 = coords(a, 0.9, input = "sensitivity", ret = "specificity")[1, 1])

called <- probability >= 0.5
confusion <- caret::confusionMatrix(factor(called * 1, levels = 0:1), factor(outcome, levels = 0:1), positive = "1")
right_first <- (first > 0.5) == (outcome == 1); right_second <- (second > 0.5) == (outcome == 1)
only1 <- sum(right_first & !right_second); only2 <- sum(!right_first & right_second)
slope <- glm(outcome ~ qlogis(pmin(pmax(probability, 1e-6), 1 - 1e-6)), family = binomial)
line <- glm(outcome ~ first, family = binomial)
order_first <- order(first)
signed <- wilcox.test(after[1:30], before[1:30], paired = TRUE, exact = TRUE, conf.int = TRUE)
ranks_exact <- wilcox.test(before[1:20], after[21:45], exact = TRUE)
ranks_ties <- wilcox.test(first[outcome == 1], first[outcome == 0], exact = FALSE, correct = TRUE)
t_paired <- t.test(after, before, paired = TRUE)
p <- c(0.001, 0.012, 0.02, 0.02, 0.049, 0.3, 0.8)
kappa <- cohen.kappa(cbind(grade, read))

result <- list(
  made_with = list(R = R.version.string, pROC = as.character(packageVersion("pROC")),
                   psych = as.character(packageVersion("psych")), caret = as.character(packageVersion("caret"))),
  auc_first = list(value = as.numeric(auc(a)), ci = as.numeric(ci.auc(a, method = "delong")), var = var(a)),
  # for an area of 0.8 with 1.5 negatives to each of 40 positives
  var_obuchowski = pROC:::var.theta.obuchowski(0.8, 1.5) / 40,
  auc_second = list(value = as.numeric(auc(b)), ci = as.numeric(ci.auc(b, method = "delong"))),
  paired = list(z = unname(paired$statistic), p = paired$p.value, ci = as.numeric(paired$conf.int)),
  unpaired = list(auc = as.numeric(unpaired$estimate), p_welch = unpaired$p.value, var = c(var(u1), var(u2))),
  partial = list(spec_0.8_1 = part(c(1, 0.8), "specificity"), spec_0.6_0.9 = part(c(0.9, 0.6), "specificity"),
                 sens_0.7_1 = part(c(1, 0.7), "sensitivity"),
                 spec_0.8_1_corrected = part(c(1, 0.8), "specificity", TRUE)),
  youden = as.list(youden[1, ]),
  readings = readings,
  roc = list(threshold = a$thresholds, sensitivity = a$sensitivities, specificity = a$specificities),
  multiclass = as.numeric(multiclass.roc(factor(grade), setNames(input[, 7:10], 0:3), quiet = TRUE)$auc),
  confusion = list(table = as.vector(confusion$table), overall = as.list(confusion$overall),
                   by_class = as.list(confusion$byClass)),
  mcnemar = list(only_first = only1, only_second = only2,
                 exact_p = binom.test(only1, only1 + only2)$p.value,
                 mid_p = 2 * pbinom(min(only1, only2), only1 + only2, 0.5) - dbinom(min(only1, only2), only1 + only2, 0.5),
                 chi2_p = mcnemar.test(table(right_first, right_second), correct = FALSE)$p.value),
  wilson = as.numeric(prop.test(sum(outcome), n, correct = FALSE)$conf.int),
  clopper_pearson = as.numeric(binom.test(sum(outcome), n)$conf.int),
  wilson_none = as.numeric(prop.test(0, 15, correct = FALSE)$conf.int),
  slope = list(value = unname(coef(slope)[2]), model_se = unname(sqrt(diag(vcov(slope)))[2])),
  line = list(intercept = unname(coef(line)[1]), slope = unname(coef(line)[2])),
  isotonic = as.numeric(fitted(isoreg(first[order_first], outcome[order_first]))),
  brier = mean((probability - outcome)^2),
  wilcoxon = list(p = signed$p.value, estimate = unname(signed$estimate), ci = as.numeric(signed$conf.int)),
  mann_whitney = list(exact_p = ranks_exact$p.value, u = unname(ranks_exact$statistic), ties_p = ranks_ties$p.value),
  paired_t = list(p = t_paired$p.value, value = unname(t_paired$estimate), ci = as.numeric(t_paired$conf.int)),
  adjusted = list(raw = p, holm = p.adjust(p, "holm"), bh = p.adjust(p, "BH"), bonferroni = p.adjust(p, "bonferroni")),
  kappa = list(plain = kappa$kappa, quadratic = kappa$weighted.kappa),
  regression = list(mae = mean(abs(after - before)), rmse = sqrt(mean((after - before)^2)),
                    bias = mean(after - before), r2 = 1 - sum((after - before)^2) / sum((before - mean(before))^2)))
write_json(result, file.path(folder, "stats_a.json"), auto_unbox = TRUE, digits = 12, pretty = TRUE)
